// Plays a segment on a click, moves the subtitle under the player, cleans the address. The page works without it, too.
(() => {
  // The token of the printed address has become a cookie: keep it out of bookmarks and of what is shared.
  const here = new URL(location.href);
  if (here.searchParams.has("token")) {
    here.searchParams.delete("token");
    history.replaceState(history.state, "", here);
  }
  const player = () => document.getElementById("player");
  document.addEventListener("click", (event) => {
    const segment = event.target.closest("button.segment");
    if (segment && player()) {
      player().currentTime = Number(segment.dataset.start);
      player().play();
    }
  });
  const follow = () => {
    const subtitle = document.getElementById("subtitle");
    if (!player() || !subtitle) return;
    const now = player().currentTime;
    let said = "";
    for (const segment of document.querySelectorAll("button.segment")) {
      const current = Number(segment.dataset.start) <= now && now < Number(segment.dataset.end);
      segment.classList.toggle("current", current);
      if (current) said = segment.querySelector("span").textContent;
    }
    subtitle.textContent = said;
  };
  // timeupdate does not bubble: listen while it is captured.
  document.addEventListener("timeupdate", follow, true);
  document.addEventListener("seeked", follow, true);
})();
