// The Compare tab: shows a comparison, plays its moments, and takes the votes.
window.asrCompare = (() => {
  const byId = (id) => document.getElementById(id);
  const { post, put } = window.asr;
  const room = window.asrRoom({
    key: "comparison", kept: "asr-comparisons", box: "comparison", progress: "compare-progress", list: "comparisons",
    opener: "open-comparison", every: 800,
    remove: (id) => post("comparison/remove", { comparison: id }),
    take: (news) => put(byId("compare-player-box"), news.player),
    clear: () => put(byId("compare-player-box"), ""),
  });

  const judge = async (vote) => {
    if (await post("judge", { comparison: room.shown(), ...vote })) room.ask();
  };

  // -- the player --------------------------------------------------------------------------------------------------
  let until = Infinity; // where the stretch that plays ends
  const player = () => byId("compare-player");
  document.addEventListener("click", (event) => {
    const hit = (selector) => event.target.closest(selector);
    const seek = hit("#comparison .seek");
    if (seek && player()) {
      until = Number(seek.dataset.end || Infinity);
      player().currentTime = Number(seek.dataset.start);
      player().play();
    } else if (hit("#comparison .vote")) {
      const { place, choice } = hit(".vote").dataset;
      judge({ place: Number(place), choice });
    } else if (hit("#comparison .reveal")) judge({});
  });
  document.addEventListener("change", (event) => {
    if (event.target.matches("#comparison .all-lines")) {
      event.target.closest(".differences").classList.toggle("all", event.target.checked);
    }
  });
  document.addEventListener("timeupdate", (event) => {
    if (event.target === player() && player().currentTime >= until) {
      until = Infinity;
      player().pause();
    }
  }, true);

  return { show: room.show, opened: room.opened };
})();
