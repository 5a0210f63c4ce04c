"""Words of the report, in both languages."""

from __future__ import annotations

LABELS: dict[str, tuple[str, str]] = {
    "benchmark": ("Benchmark", "评测"),
    "clips_line": ("{clips} clips, {minutes:.1f} minutes, {languages} ({layout})", "{clips} 段录音，{minutes:.1f} 分钟，{languages}（{layout}）"),
    "clips_line_one": ("1 clip, {minutes:.1f} minutes, {languages} ({layout})", "1 段录音，{minutes:.1f} 分钟，{languages}（{layout}）"),
    "languages_of": ("{count} languages", "{count} 种语言"),
    "one_language": ("language {name}", "语言 {name}"),
    "no_language": ("no language given", "未注明语言"),
    "failed_model": ("could not be run: {problem}", "无法运行：{problem}"),
    "unfinished": ("not finished yet: no recommendation.", "尚未完成，暂无建议。"),
    "uses": ("By use, of the precisions not shown to lose", "按用途（未证实更差的精度）"),
    "service": ("service: shortest wait", "服务：等待最短"),
    "edge": ("edge box: least memory", "边缘设备：内存最少"),
    "offline": ("offline: fastest", "离线：最快"),
    "research": ("research: the reference", "研究：基准"),
    "error_table": ("Error", "错误率"),
    "error_note": (
        "Error is CER for zh, yue, ja and th, and WER for the others, micro-averaged over all clips. In brackets: the 95 % "
        "interval of the paired difference from FP32 (bootstrap over clips; left out of fewer than 20). Loss is the cross-entropy of the reference "
        "text, in nats a token; it tells precisions apart where the error is noise.",
        "中文、粤语、日语、泰语为字错误率（CER），其他语言为词错误率（WER），对全部录音做微平均。方括号内为与 FP32 成对差值的 95 % 区间"
        "（按录音自助抽样；少于 20 段时不列）。损失为参考文本的交叉熵（奈特/词元），在错误率差异淹没于噪声时仍能区分精度。",
    ),
    "speed_table": ("Speed", "速度"),
    "speed_note": (
        "One clip at a time, from the file to the text: one warm-up, then {clips} clips, {rounds} × each. {how} "
        "Cold start: from the start of the process, its files not in memory, to the first text.",
        "每次一段，从文件到文本：预热一次，随后 {clips} 段录音各计时 {rounds} 次。{how}冷启动：从进程启动（文件不在内存中）到得到第一段文本。",
    ),
    "alternated": ("The arms took turns.", "各项轮流进行。"),
    "not_alternated": (
        "The arms did not fit into memory together and ran one after the other.", "内存不足以同时容纳各项，因此依次进行。"
    ),
    "size_table": ("Memory and size", "内存与体积"),
    "size_note": (
        "Memory is resident, above that of a process with the libraries and without the model.",
        "内存为常驻内存，已减去只含运行库、不含模型的进程所占部分。",
    ),
    "users_table": ("Several users", "多用户"),
    "users_note": (
        "So many requests at the same moment. One engine serves one at a time, so more users wait longer.",
        "同一时刻的请求数。一个引擎一次只处理一个请求，因此用户越多等待越久。",
    ),
    "language_table": ("Error by language", "各语言错误率"),
    "deleted_table": ("Deletions by language", "各语言删除率"),
    "loss_table": ("Loss of the reference text by language, nats a token", "各语言参考文本的损失（奈特/词元）"),
    "left_table": ("Left out", "未使用的条目"),
    "left_none": ("Nothing was left out.", "没有未使用的条目。"),
    "failed_table": ("Arms that failed", "未能完成的项目"),
    "recipe_table": ("Recipe", "复现条件"),
    "model": ("model", "模型"), "arm": ("precision", "精度"), "clips": ("clips", "录音数"), "error": ("error", "错误率"), "deleted": ("deleted", "删除"),
    "from_fp32": ("from FP32, points", "与 FP32 之差（百分点）"), "no_worse": ("clips no worse", "不更差的录音"),
    "loss": ("loss", "损失"), "loss_change": ("loss from FP32, %", "损失变化（%）"),
    "rtf": ("RTF", "RTF"), "rtfx": ("RTFx", "RTFx"), "speedup": ("× FP32", "× FP32"), "mean": ("mean", "平均"), "p50": ("p50", "p50"),
    "p95": ("p95", "p95"), "cpu": ("CPU s a clip", "CPU 秒/段"), "cold": ("cold start", "冷启动"), "load": ("load", "加载"),
    "weights": ("weights", "权重"), "disk": ("on disk", "磁盘"), "peak": ("peak memory", "峰值内存"), "rest": ("the rest of the peak", "峰值的其余部分"), "device_memory": ("CUDA allocated", "CUDA 分配"),
    "users": ("users", "用户数"), "throughput": ("clips a second", "段/秒"), "wait50": ("wait p50", "等待 p50"), "wait95": ("wait p95", "等待 p95"),
    "language": ("language", "语言"), "all": ("all", "全部"), "reason": ("reason", "原因"), "count": ("count", "数量"),
    "which": ("which", "条目"), "line": ("line {line} of {table}", "{table} 第 {line} 行"), "and_more": ("and {count} more", "另有 {count} 项"),
    "problem": ("problem", "问题"), "finished": ("clips done", "完成录音"), "item": ("item", "项目"), "value": ("value", "值"),
    "hash_weights": ("weights of {model}", "{model} 的权重"), "hash_audio": ("audio", "音频"), "versions": ("versions", "版本"),
    "processor": ("processor", "处理器"), "threads": ("threads, device", "线程、设备"), "normaliser": ("normaliser", "文本归一化"),
    "made": ("made", "时间"), "spoken": ("spoken language", "语音语言"), "given": ("given", "已指定"), "detected": ("detected", "自动检测"),
    "plot_error": ("Error against RTF", "错误率与 RTF"), "plot_memory": ("Memory by precision", "各精度内存"),
    "plot_latency": ("Latency by length", "延迟与时长"), "plot_stages": ("Time by stage", "各阶段用时"),
    "plot_error_note": (
        "Lower and further left is better. Whiskers: the 95 % interval of the difference from FP32.",
        "越低、越靠左越好。误差线：与 FP32 之差的 95 % 区间。",
    ),
    "plot_latency_note": ("Median of the rounds of each clip.", "每段录音各轮的中位数。"),
    "plot_stages_note": ("Mean seconds a clip.", "每段平均秒数。"),
    "bar": ("the product's bar, +0.02 points", "产品标准 +0.02"), "mlperf": ("MLPerf, 99 % of FP32: +{points:.2f}", "MLPerf，FP32 的 99 %：+{points:.2f}"),
    "error_axis": ("error, %", "错误率（%）"), "length_axis": ("length of the clip, s", "录音时长（秒）"), "latency_axis": ("latency, s", "延迟（秒）"),
    "low": ("low", "下限"), "high": ("high", "上限"), "megabytes": ("MB", "MB"), "seconds": ("seconds", "秒"),
    "numbers": ("The numbers", "数据"), "csv": ("Download as CSV", "下载 CSV"),
    "decode": ("decoding", "解码"), "vad": ("finding speech", "语音检测"), "asr": ("recognition", "识别"), "punctuation": ("punctuation", "标点"),
    "articles": ("The articles' tables", "文章中的表格"),
    "articles_note": (
        "× better: FP32's figure divided by this one; for requests a second, this one by FP32's. Below 1 is worse. Across machines, "
        "models and audio only these ratios can be compared. The articles' errors grew by 0.2 to 1.1 points.",
        "“× 更好”：FP32 的数值除以该数值；每秒请求数则相反。小于 1 表示更差。机器、模型、音频不同时，只有这些比值可以比较。文章中的错误率上升了 0.2 至 1.1 个百分点。",
    ),
    "article_line": ("The article's model: {title}. Its machine: {machine}.", "文章所用模型：{title}。所用机器：{machine}。"),
    "article": ("article", "文章"), "article_gain": ("article, × better", "文章，× 更好"), "ours": ("this run", "本次"), "ours_gain": ("this run, × better", "本次，× 更好"),
    "ours_none": ("not measured", "未测量"), "not_given": ("not given", "未提供"), "not_measured": ("not measured", "未测量"), "arm_failed": ("failed", "失败"),
    "figure": ("figure", "指标"), "figure_latency": ("latency, mean of a clip", "延迟（每段平均）"), "figure_ten_seconds": ("latency of 10 s", "10 秒音频的延迟"),
    "figure_cold_start": ("cold start", "冷启动"), "figure_memory": ("memory, peak", "内存峰值"), "figure_weights": ("size of the weights", "权重大小"),
    "figure_disk": ("size on disk", "磁盘占用"), "figure_requests": ("requests a second", "每秒请求数"), "figure_error": ("error", "错误率"),
    "resident": ("resident, without the libraries", "常驻内存，不含运行库"), "with_users": ("{users} users", "{users} 个用户"), "clip_of": ("clip of {seconds:.1f} s", "{seconds:.1f} 秒的录音"),
    "weights_published": ("The article's model: the published weights of {model}.", "与文章相同的模型：{model} 的公开权重。"),
    "weights_smaller": ("A smaller model of the family: {model}, not {wanted}; published weights.", "同系列中较小的模型：{model}，而非 {wanted}；公开权重。"),
    "weights_other": ("Another model of the family: {model}, not {wanted}; published weights.", "同系列的另一模型：{model}，而非 {wanted}；公开权重。"),
    "weights_demo": ("A demo: {model}, a miniature of the family with a small vocabulary, not {wanted}.", "演示模型：{model}，同系列的微缩版，词汇量很小，而非 {wanted}。"),
    "weights_folder": (
        "A local folder or file: {model}. Its weights are not compared with published ones; they may even be random.",
        "本地目录或文件：{model}。其权重未与公开权重核对，甚至可能是随机的。",
    ),
    "points": ("{points} points", "{points} 个百分点"),
    "weights_hash": ("Hash of the weights: {hash}.", "权重哈希：{hash}。"),
    "measured_on": ("Measured on {made}: {processor}, threads: {threads}, {device}; {clips}.", "测于 {made}：{processor}，线程 {threads}，{device}；{clips}。"),
    "how_to_measure": ("No results of this family were given. The command under the table measures it.", "没有该系列的结果。可用表格下方的命令测量。"),
    "folder": ("FOLDER", "目录"),
    "no_family": ("{model}: no table. Its family is none of the four, or is not recorded.", "{model}：没有表格。其系列不属于这四个系列，或未被记录。"),
    "no_speed": ("No speed was measured.", "没有测得速度。"),
}  # fmt: skip


def label(key: str, language: str, **fields: object) -> str:
    """The words of `key` in `language` ("zh", or anything else for English)."""
    english, chinese = LABELS[key]
    return (chinese if language == "zh" else english).format(**fields)
