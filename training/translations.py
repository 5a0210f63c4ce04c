"""English translations of some of the vocabulary's Mandarin, for demo-whisper."""

from __future__ import annotations

from training.vocabulary import EN_DIGITS, ZH_DIGITS, Sentence

_FIXED = {
    "你好。": "Hello.",
    "谢谢你的帮助。": "Thank you for your help.",
    "再见，明天见。": "Goodbye, see you tomorrow.",
    "早上好，今天过得怎么样？": "Good morning, how are you today?",
    "晚安，做个好梦。": "Good night, sleep well.",
    "这个多少钱？": "How much does this cost?",
    "我想喝一杯咖啡。": "I would like a cup of coffee.",
    "今天天气怎么样？": "What is the weather like today?",
    "明天会下雪吗？": "Will it snow tomorrow?",
    "你叫什么名字？": "What is your name?",
    "我来自中国。": "I come from china.",
    "对不起，我没听清楚。": "Sorry, I did not hear you.",
    "请再说一遍。": "Please say that again.",
    "请说慢一点。": "Please speak more slowly.",
    "没关系，慢慢来。": "Do not worry, take your time.",
    "我不知道怎么走。": "I do not know the way.",
    "请帮我叫一辆出租车。": "Please call a taxi for me.",
    "飞机几点起飞？": "When does the plane leave?",
    "我的行李找不到了。": "I cannot find my luggage.",
    "妈妈正在厨房做饭。": "My mother is cooking in the kitchen.",
    "孩子们在公园里玩。": "The children are playing in the park.",
    "这本书很有意思。": "This book is very interesting.",
    "我忘记带钥匙了。": "I forgot my keys.",
    "手机没电了。": "My phone is out of battery.",
    "请把门关上。": "Please close the door.",
    "请打开窗户。": "Open the window, please.",
    "会议马上就要开始了。": "The meeting is about to begin.",
    "请把文件发给我。": "Please send me the file.",
    "这个问题很重要。": "This question is very important.",
    "我们需要更多的时间。": "We need more time.",
    "项目已经完成了。": "The project is finished.",
    "你收到我的邮件了吗？": "Did you get my email?",
    "欢迎使用语音识别系统。": "Welcome to speech recognition.",
    "请开始录音。": "Please start recording.",
    "录音已经结束。": "The recording has ended.",
    "识别结果非常准确。": "The result is very accurate.",
    "我有点头疼。": "I have a headache.",
    "你应该早点休息。": "You should rest early.",
    "我同意你的意见。": "I agree with your idea.",
    "让我想一想。": "Let me think about it.",
    "生日快乐！": "Happy birthday to you!",
    "现在几点了？": "What time is it?",
}


def translation(sentence: Sentence) -> str | None:
    """English of `sentence`, for fixed sentences and Mandarin digits; None for others and for English ones."""
    if sentence.language != "zh":
        return None
    if set(sentence.spoken) <= set(ZH_DIGITS + "幺"):
        return " ".join(EN_DIGITS[1 if c == "幺" else ZH_DIGITS.index(c)] for c in sentence.spoken) + "."
    return _FIXED.get(sentence.text)
