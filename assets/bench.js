// The Benchmark tab: shows a benchmark and its report, stops it and lets it go on.
window.asrBench = (() => {
  const { post } = window.asr;
  const wish = (benchmark, wish) => post("benchmark/wish", { benchmark, wish });
  const room = window.asrRoom({
    key: "benchmark", kept: "asr-benchmarks", box: "bench-result", progress: "bench-progress", list: "benchmarks",
    opener: "open-benchmark", every: 1500, // a look costs time on the machine that is measured
    remove: (id) => wish(id, "remove"),
  });

  document.addEventListener("click", async ({ target }) => {
    const button = target.closest("#bench-progress :is(.stop, .go-on)");
    if (button && (await wish(room.shown(), button.className))) room.ask();
  });

  const reading = (now) => { document.getElementById("bench-reading").hidden = !now; };

  return { show: room.show, opened: room.opened, reading };
})();
