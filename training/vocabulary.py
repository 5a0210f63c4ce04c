"""Vocabulary of the demo models in Mandarin and English, as sentences with punctuation.

A *grammar* draws digit strings, phone numbers, times, dates, temperatures, smart-home and player commands, so that
sentences that training has not seen can be tested. `EVERYDAY` lists fixed sentences of daily life. Text is in its
spoken form (`twenty one`, `二十一`), English in lower case without apostrophes, as a recogniser writes it.

Knows no sound: voices.py speaks these sentences, punctuation.py learns their marks.
"""

from __future__ import annotations

import random
import re
import zlib
from dataclasses import dataclass

ZH_DIGITS = "零一二三四五六七八九"
EN_DIGITS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
EN_TEENS = [
    "ten",
    "eleven",
    "twelve",
    "thirteen",
    "fourteen",
    "fifteen",
    "sixteen",
    "seventeen",
    "eighteen",
    "nineteen",
]
EN_TENS = ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]
EN_ORDINALS = [
    "first",
    "second",
    "third",
    "fourth",
    "fifth",
    "sixth",
    "seventh",
    "eighth",
    "ninth",
    "tenth",
    "eleventh",
    "twelfth",
    "thirteenth",
    "fourteenth",
    "fifteenth",
    "sixteenth",
    "seventeenth",
    "eighteenth",
    "nineteenth",
    "twentieth",
]
EN_MONTHS = [
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
]
EN_WEEKDAYS = ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"]

ZH_ROOMS = ["客厅", "卧室", "厨房", "书房", "卫生间", "阳台"]
ZH_DEVICES = ["灯", "空调", "电视", "窗帘", "风扇", "热水器", "电脑", "音响", "加湿器", "洗衣机"]
EN_ROOMS = ["living room", "bedroom", "kitchen", "study", "bathroom", "garage"]
EN_DEVICES = ["light", "fan", "heater", "television", "computer", "curtain", "speaker", "washing machine", "camera"]

EVERYDAY_ZH = [
    "你好。",
    "谢谢你的帮助。",
    "再见，明天见。",
    "早上好，今天过得怎么样？",
    "晚安，做个好梦。",
    "请问洗手间在哪里？",
    "这个多少钱？",
    "可以便宜一点吗？",
    "我想喝一杯咖啡。",
    "我们一起去吃饭吧。",
    "今天天气怎么样？",
    "外面下雨了，别忘了带伞。",
    "明天会下雪吗？",
    "你叫什么名字？",
    "我来自中国。",
    "你会说英语吗？",
    "对不起，我没听清楚。",
    "请再说一遍。",
    "请说慢一点。",
    "没关系，慢慢来。",
    "我不知道怎么走。",
    "地铁站离这里远吗？",
    "请帮我叫一辆出租车。",
    "飞机几点起飞？",
    "火车晚点了半个小时。",
    "我的行李找不到了。",
    "我要去北京开会。",
    "上海是一个大城市。",
    "周末你有什么安排？",
    "我喜欢听音乐和看电影。",
    "他每天早上跑步。",
    "妈妈正在厨房做饭。",
    "爸爸下班回家了。",
    "孩子们在公园里玩。",
    "这本书很有意思。",
    "我忘记带钥匙了。",
    "手机没电了。",
    "请把门关上。",
    "请打开窗户。",
    "声音太小了，请大一点。",
    "会议马上就要开始了。",
    "请把文件发给我。",
    "这个问题很重要。",
    "我们需要更多的时间。",
    "项目已经完成了。",
    "下周一我要出差。",
    "老板今天不在办公室。",
    "你收到我的邮件了吗？",
    "请在这里签字。",
    "网络连接不太好。",
    "欢迎使用语音识别系统。",
    "请开始录音。",
    "录音已经结束。",
    "识别结果非常准确。",
    "模型正在加载，请稍等。",
    "量化以后速度更快。",
    "人工智能改变生活。",
    "我对这个结果很满意。",
    "客户希望尽快解决。",
    "请问有什么可以帮您？",
    "您的订单已经发货。",
    "请输入您的密码。",
    "您的余额不足。",
    "请提供您的地址。",
    "我想查询我的账户。",
    "感谢您的来电。",
    "祝您生活愉快。",
    "医生说要多喝水。",
    "我有点头疼。",
    "你应该早点休息。",
    "请按时吃药。",
    "他的身体很健康。",
    "同学们，请打开课本。",
    "老师，我有一个问题。",
    "这道题怎么做？",
    "请大家安静。",
    "我们今天学习第三课。",
    "作业明天交。",
    "考试什么时候开始？",
    "苹果和香蕉都很新鲜。",
    "我要一碗牛肉面。",
    "服务员，请买单。",
    "这里的菜很好吃。",
    "红色的衣服很漂亮。",
    "春天来了，花都开了。",
    "夏天很热，冬天很冷。",
    "月亮又大又圆。",
    "小猫在沙发上睡觉。",
    "那只狗跑得很快。",
    "请给我一张地图。",
    "往前走，然后向左转。",
    "右边就是银行。",
    "超市晚上几点关门？",
    "生日快乐！",
    "恭喜你们！",
    "新年快乐，万事如意！",
    "别担心，一切都会好的。",
    "我同意你的意见。",
    "让我想一想。",
    "太好了，我们成功了！",
    "等一下，我马上到。",
]

EVERYDAY_EN = """
Hello, nice to meet you.|Thank you very much.|Goodbye, see you tomorrow.|Good morning, how are you today?|Good night, sleep well.
Where is the nearest bank?|How much does this cost?|Can you give me a discount?|I would like a cup of coffee.|Let us have lunch together.
What is the weather like today?|It is raining outside, take an umbrella.|Will it snow this weekend?|What is your name?|I come from a small town.
Do you speak chinese?|Sorry, I did not hear you.|Please say that again.|Could you speak more slowly?|Do not worry, take your time.
I do not know the way.|How far is the train station?|Please call a taxi for me.|When does the plane leave?|The bus is half an hour late.
I cannot find my luggage.|We are flying to london next week.|New york is a big city.|What are your plans for the weekend?
I like listening to music and watching movies.|He goes running every morning.|My mother is cooking dinner.|My father came home from work.
The children are playing in the park.|This book is very interesting.|I forgot my keys again.|My phone is out of battery.|Please close the door.
Open the window, please.|The sound is too low, turn it up.|The meeting is about to begin.|Please send me the file.|This question is very important.
We need more time.|The project is finished.|I have to travel on business.|The manager is not in the office.|Did you get my email?
Please sign your name here.|The network connection is not stable.|Welcome to speech recognition.|Please start recording.|The recording has ended.
The result is very accurate.|The model is loading, please wait.|Smaller models run faster.|Artificial intelligence changes our lives.
I am happy with this result.|The customer wants a quick answer.|How can I help you?|Your order has been shipped.|Please enter your password.
Your balance is too low.|What is your address?|I want to check my account.|Thank you for calling.|Have a wonderful day.
The doctor told me to drink more water.|I have a headache.|You should rest early.|Take this medicine twice a day.|He is strong and healthy.
Open your books, please.|Teacher, I have a question.|How do you solve this problem?|Please be quiet, everyone.|Today we study lesson three.
The homework is due tomorrow.|When does the exam start?|The apples and bananas are fresh.|I want a bowl of noodles.|Waiter, the bill please.
The food here is delicious.|The red dress is beautiful.|Spring is here and the flowers are open.|Summer is hot and winter is cold.
The moon is bright tonight.|The cat is sleeping on the sofa.|That dog runs very fast.|Please give me a map.|Go straight and then turn left.
The hospital is on the right.|What time does the shop close?|Happy birthday to you!|Congratulations to all of you!|Happy new year!
Everything will be fine.|I agree with your idea.|Let me think about it.|Great, we made it!|Wait a moment, I am coming.
The quick brown fox jumps over the lazy dog.|Ask not what your country can do for you.|Can we talk about the price?|Please read the first page.
"""
PLAYER_ZH = ["暂停播放。", "继续播放。", "下一首。", "上一首。", "停止。", "开始。", "音量大一点。", "音量小一点。"]
PLAYER_EN = ["Pause.", "Stop.", "Next song.", "Previous song.", "Louder.", "Start.", "Yes.", "No."]
EVERYDAY = [("zh", s) for s in EVERYDAY_ZH] + [
    ("en", s.strip()) for s in EVERYDAY_EN.replace("\n", "|").split("|") if s
]

# English text in a window of Mandarin marks and the other way round would teach the punctuation model nothing true.
MARKS = "，。？！、,.?!"


@dataclass(frozen=True)
class Sentence:
    """A sentence. `text` has punctuation; `spoken` is the target text of a recogniser."""

    language: str
    text: str

    @property
    def spoken(self) -> str:
        return " ".join(re.sub(f"[{MARKS}]", " ", self.text).lower().split())

    @property
    def tokens(self) -> list[str]:
        """Units of the demo models' vocabularies: Mandarin by character, English by word."""
        return self.spoken.split() if self.language == "en" else list(self.spoken.replace(" ", ""))

    @property
    def held_out(self) -> bool:
        """Whether the text is kept from training, so that tests have *new* sentences: one in ten, by its hash.

        Fixed sentences and single words are few, and always in training.
        """
        if (self.language, self.text) in _FIXED or len(self.tokens) < 3:
            return False
        return zlib.crc32(self.spoken.encode()) % 10 == 0


_FIXED = {*EVERYDAY, *(("zh", s) for s in PLAYER_ZH), *(("en", s) for s in PLAYER_EN)}


def zh_number(n: int) -> str:
    """0..999 in spoken Mandarin: 16 -> 十六, 105 -> 一百零五."""
    if n < 10:
        return ZH_DIGITS[n]
    if n < 100:
        tens, units = divmod(n, 10)
        return ("" if tens == 1 else ZH_DIGITS[tens]) + "十" + (ZH_DIGITS[units] if units else "")
    hundreds, rest = divmod(n, 100)
    head = ZH_DIGITS[hundreds] + "百"
    if rest == 0:
        return head
    return head + ("零" + ZH_DIGITS[rest] if rest < 10 else ("一" if rest < 20 else "") + zh_number(rest))


def en_number(n: int) -> str:
    """0..999 in spoken English, without hyphens: 21 -> twenty one."""
    if n < 10:
        return EN_DIGITS[n]
    if n < 20:
        return EN_TEENS[n - 10]
    if n < 100:
        tens, units = divmod(n, 10)
        return EN_TENS[tens - 2] + (" " + EN_DIGITS[units] if units else "")
    hundreds, rest = divmod(n, 100)
    return f"{EN_DIGITS[hundreds]} hundred" + (f" and {en_number(rest)}" if rest else "")


def en_ordinal(n: int) -> str:
    """1..31 as in dates: 21 -> twenty first."""
    if n <= 20:
        return EN_ORDINALS[n - 1]
    return "thirtieth" if n == 30 else f"{EN_TENS[n // 10 - 2]} {EN_ORDINALS[n % 10 - 1]}"


def _zh_digits(r: random.Random) -> str:
    length = r.choice([1, 1, 2, 3, 3, 4, 4, 5, 6, 7, 8, 11])
    return "".join(r.choice(ZH_DIGITS) if r.random() < 0.93 else "幺" for _ in range(length)) + "。"


def _zh_grammar(r: random.Random) -> str:
    device, room = r.choice(ZH_DEVICES), r.choice(ZH_ROOMS)
    hour = zh_number(r.randint(1, 12))
    minute = r.choice(["", "半", "一刻", zh_number(r.randint(11, 59)) + "分", "零" + zh_number(r.randint(1, 9)) + "分"])
    part = r.choice(["早上", "上午", "中午", "下午", "晚上"])
    day = r.choice(["今天", "明天", "后天", "星期" + r.choice("一二三四五六日"), "下周" + r.choice("一二三四五")])
    month, date = zh_number(r.randint(1, 12)), zh_number(r.randint(1, 31))
    phone = "".join(r.choice(ZH_DIGITS) for _ in range(r.choice([7, 8, 11])))
    year = "".join(ZH_DIGITS[int(c)] for c in str(r.randint(1949, 2039)))
    return r.choice(
        [
            lambda: f"{r.choice(['打开', '关闭', '请打开', '请关闭'])}{room}的{device}。",
            lambda: f"{r.choice(['打开', '关闭'])}{device}。",
            lambda: f"把{room}的温度{r.choice(['调到', '设为'])}{zh_number(r.randint(16, 32))}度。",
            lambda: f"空调{r.choice(['调高', '调低'])}{zh_number(r.randint(1, 9))}度。",
            lambda: (
                f"{r.choice(['室内', '室外', '今天'])}温度{r.choice(['', '零下'])}{zh_number(r.randint(1, 39))}度。"
            ),
            lambda: f"体温三十{r.choice('六七八九')}点{r.choice(ZH_DIGITS[1:])}度。",
            lambda: f"现在是{part}{hour}点{minute}。",
            lambda: "现在几点了？",
            lambda: f"{day}{part}{hour}点{minute}开会。",
            lambda: f"提醒我{day}{part}{hour}点{r.choice(['起床', '吃药', '打电话', '上课', '出门'])}。",
            lambda: f"定一个{zh_number(r.randint(1, 60))}分钟的闹钟。",
            lambda: f"今天是{month}月{date}{r.choice('日号')}。",
            lambda: f"{year}年{month}月{date}日。",
            lambda: f"我的电话号码是{phone}。",
            lambda: f"请拨打{phone}。",
            lambda: f"播放第{zh_number(r.randint(1, 120))}首歌。",
            lambda: f"音量{r.choice(['调到', '增加到', '降低到'])}百分之{zh_number(r.randint(1, 100))}。",
            lambda: r.choice(PLAYER_ZH),
            lambda: f"一共{zh_number(r.randint(1, 999))}{r.choice(['元', '块钱', '个人', '米', '公里'])}。",
            lambda: f"房间号是{''.join(r.choice(ZH_DIGITS) for _ in range(4))}。",
        ]
    )()


def _en_digits(r: random.Random) -> str:
    return " ".join(r.choice(EN_DIGITS) for _ in range(r.choice([1, 1, 1, 1, 2, 3, 4, 5, 6, 7, 8, 10]))) + "."


def _en_grammar(r: random.Random) -> str:
    device, room = r.choice(EN_DEVICES), r.choice(EN_ROOMS)
    hour = en_number(r.randint(1, 12))
    minute = r.choice(["", " " + en_number(r.randint(10, 59)), " thirty", " fifteen"])
    clock = r.choice([f"half past {hour}", f"a quarter to {hour}", f"{hour} o clock", f"{hour}{minute}"])
    part = r.choice(["in the morning", "in the afternoon", "in the evening"])
    day = r.choice(["today", "tomorrow", *("on " + d for d in EN_WEEKDAYS)])
    date = f"{r.choice(EN_MONTHS)} {en_ordinal(r.randint(1, 31))}"
    phone = " ".join(r.choice(EN_DIGITS) for _ in range(r.choice([7, 8, 10])))
    return r.choice(
        [
            lambda: f"Turn {r.choice(['on', 'off'])} the {device} in the {room}.",
            lambda: f"{r.choice(['Turn on', 'Turn off', 'Please turn on', 'Please turn off'])} the {device}.",
            lambda: f"Set the {room} to {en_number(r.randint(16, 32))} degrees.",
            lambda: f"Make it {en_number(r.randint(1, 9))} degrees {r.choice(['warmer', 'cooler'])}.",
            lambda: f"The temperature is {r.choice(['', 'minus '])}{en_number(r.randint(1, 39))} degrees.",
            lambda: f"It is {clock} {part}.",
            lambda: "What time is it?",
            lambda: f"The meeting is {day} at {clock}.",
            lambda: f"Remind me {day} at {clock} to {r.choice(['get up', 'call home', 'go out', 'take a break'])}.",
            lambda: f"Set a timer for {en_number(r.randint(1, 60))} minutes.",
            lambda: f"Today is {r.choice(EN_WEEKDAYS)}, {date}.",
            lambda: f"Her birthday is {date}.",
            lambda: f"My phone number is {phone}.",
            lambda: f"Please dial {phone}.",
            lambda: f"Play song number {en_number(r.randint(1, 120))}.",
            lambda: f"Set the volume to {en_number(r.randint(1, 100))} percent.",
            lambda: r.choice(PLAYER_EN),
            lambda: (
                f"The total is {en_number(r.randint(1, 999))} {r.choice(['dollars', 'people', 'meters', 'miles'])}."
            ),
            lambda: f"The room number is {' '.join(r.choice(EN_DIGITS) for _ in range(4))}.",
        ]
    )()


def draw(r: random.Random) -> Sentence:
    """One sentence: a fifth are fixed everyday ones, a third digits (the hardest words to tell apart)."""
    language = "zh" if r.random() < 0.5 else "en"
    kind = r.random()
    if kind < 0.3:
        text = r.choice(EVERYDAY_ZH) if language == "zh" else r.choice([t for tag, t in EVERYDAY if tag == "en"])
    elif kind < 0.6:
        text = _zh_digits(r) if language == "zh" else _en_digits(r)
    else:
        text = _zh_grammar(r) if language == "zh" else _en_grammar(r)
    return Sentence(language, text)


def draw_english(r: random.Random) -> Sentence:
    """One English sentence, mostly from the grammar. `draw` yields enough digits already."""
    kind = r.random()
    if kind < 0.15:
        return Sentence("en", r.choice([t for tag, t in EVERYDAY if tag == "en"]))
    return Sentence("en", _en_digits(r) if kind < 0.25 else _en_grammar(r))


def vocabulary() -> list[str]:
    """All tokens of the fixed sentences and of the grammar, which is drawn until nothing new comes; sorted."""
    r = random.Random(0)
    tokens = {t for language, text in EVERYDAY for t in Sentence(language, text).tokens}
    for _ in range(60_000):
        tokens.update(draw(r).tokens)
    return sorted(tokens)
