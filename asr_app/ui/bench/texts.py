"""Words of the Benchmark tab, in both languages of the page. Those of the report itself are in asr_app/report/labels.py."""

BENCH: dict[str, dict[str, str]] = {
    "tab_bench": {"en": "Benchmark", "zh": "评测"},
    "bench_files": {"en": "Recordings with what is said in them", "zh": "录音及其参考文本"},
    "bench_files_info": {
        "en": "Several recordings and their manifest (tsv or jsonl), NAME.txt beside each NAME.wav, or one zip of a folder: "
        "also LibriSpeech, AISHELL, Common Voice, Kaldi.",
        "zh": "可上传多个录音及其清单（tsv 或 jsonl）、与录音同名的 txt，或一个目录的 zip（也支持 LibriSpeech、AISHELL、"
        "Common Voice、Kaldi 格式）。",
    },
    "bench_or": {"en": "Or take", "zh": "或使用"},
    "bench_examples": {"en": "the app's examples", "zh": "内置示例"},
    "bench_reading": {"en": "Reading the files …", "zh": "正在读取文件……"},
    "bench_found": {
        "en": "<b>{name}</b>: {clips} recordings with references ({layout}; {languages}).",
        "zh": "<b>{name}</b>：{clips} 段带参考文本的录音（{layout}；{languages}）。",
    },
    "bench_found_one": {
        "en": "<b>{name}</b>: one recording with a reference ({layout}; {languages}).",
        "zh": "<b>{name}</b>：1 段带参考文本的录音（{layout}；{languages}）。",
    },
    "bench_example_name": {"en": "The app's examples", "zh": "内置示例"},
    "bench_example_note": {
        "en": "Only those that the chosen models understand are used.", "zh": "只使用所选模型能识别的示例。",
    },
    "bench_unnamed": {"en": "no language given", "zh": "未注明语言"},
    "bench_left_out": {"en": "Left out: {count}", "zh": "未使用：{count}"},
    "bench_unused": {
        "en": "{count} other files, neither recordings nor tables", "zh": "{count} 个其他文件（既非录音也非清单）",
    },
    "bench_models": {"en": "Models (those on this disk)", "zh": "模型（已在本机的）"},
    "bench_precisions": {"en": "Precisions", "zh": "精度"},
    "bench_more": {"en": "Limits, rounds and users", "zh": "数量、轮数与用户数"},
    "bench_languages": {"en": "Languages", "zh": "语言"},
    "bench_languages_info": {"en": "None chosen: all.", "zh": "不选则为全部。"},
    "bench_limit": {"en": "Recordings of each language", "zh": "每种语言的录音数"},
    "bench_limit_info": {"en": "Evenly spread; empty for all.", "zh": "均匀抽取；留空则为全部。"},
    "bench_rounds": {"en": "Timed rounds after a warm-up", "zh": "预热后的计时轮数"},
    "bench_users": {"en": "Requests at once", "zh": "同时请求数"},
    "bench_start": {"en": "Start the benchmark", "zh": "开始评测"},
    "bench_stop": {"en": "Stop", "zh": "停止"},
    "bench_go_on": {"en": "Go on", "zh": "继续"},
    "bench_earlier": {"en": "Earlier benchmarks", "zh": "以往的评测"},
    "bench_empty": {
        "en": "Give recordings with references. Every model runs at every precision on all of them; the result is the "
        "error of each with its interval, its speed and its memory, and which one to use. The machine must be idle for it: "
        "transcriptions go first, and the benchmark goes on after them.",
        "zh": "请提供带参考文本的录音。每个模型会以每种精度识别全部录音，得出错误率及其区间、速度、内存占用和使用建议。"
        "评测需要机器空闲：转写任务优先，之后评测会继续。",
    },
    "bench_nothing": {
        "en": "There are no recordings yet. Upload some, or take the app's examples.", "zh": "还没有录音。请上传，或使用内置示例。",
    },
    "bench_queued": {"en": "waits until the machine is idle", "zh": "等待机器空闲"},
    "bench_ahead": {"en": "waits for {count} other benchmarks", "zh": "等待前面 {count} 个评测"},
    "bench_left": {"en": "{time} left in this step", "zh": "此步骤剩余 {time}"},
    "bench_starting": {"en": "starting", "zh": "正在启动"},
    "bench_decoding": {"en": "decoding the recordings", "zh": "正在解码录音"},
    "bench_texts": {"en": "recognising", "zh": "识别"},
    "bench_speed": {"en": "measuring speed", "zh": "测速"},
    "bench_model_of": {"en": "model {n} of {total}", "zh": "第 {n} / {total} 个模型"},
    "bench_breaks": {
        "en": "Transcriptions went first {count} times. It goes on after each where it was.",
        "zh": "已为转写任务让路 {count} 次，每次之后会从中断处继续。",
    },
    "bench_so_far": {"en": "The results so far:", "zh": "目前的结果："},
    "bench_cancelled": {
        "en": "Stopped. What is done is kept: it can go on where it was.", "zh": "已停止。已完成的部分会保留，可从中断处继续。",
    },
    "bench_failed": {"en": "It failed.", "zh": "评测失败。"},
    "bench_none_yet": {"en": "The results come arm by arm.", "zh": "每完成一项就会显示结果。"},
    "bench_nothing_done": {"en": "No arm was finished.", "zh": "没有完成的项目。"},
    "bench_per_clip": {"en": "every text (csv)", "zh": "逐段文本（csv）"},
    "bench_state_running": {"en": "running", "zh": "进行中"},
}  # fmt: skip
