// The Compare tab: asks the server how a comparison stands, shows it, plays its moments, and takes the votes.
window.asrCompare = (() => {
  const BUSY_MS = 800, RETRY_MS = 2000, MOST_LISTED = 20, STORED = "asr-comparisons";
  const byId = (id) => document.getElementById(id);
  const { post, put, sure, translate } = window.asr;

  let comparison = "", language = "en", tag = "", opening = "", timer = 0;
  let generation = 0; // grows with each question: only the answer to the last one counts
  let emptyTab = ""; // the contents while no comparison is shown

  const stored = () => JSON.parse(localStorage.getItem(STORED) || "[]");
  const store = (ids) => localStorage.setItem(STORED, JSON.stringify(ids.slice(0, MOST_LISTED)));

  const show = (id, label) => {
    const box = byId("comparison");
    if (!box) return; // Gradio makes a tab when it is first opened, which calls this again
    emptyTab = emptyTab || box.innerHTML;
    [comparison, language, tag] = [id || "", label === "中文" ? "zh" : "en", ""];
    if (comparison && !stored().includes(comparison)) store([comparison, ...stored()]);
    if (!comparison) clear();
    translate(language); // the page may be told of another language later
    ask();
  };

  const clear = () => {
    for (const id of ["compare-progress", "compare-player-box"]) put(byId(id), "");
    put(byId("comparison"), emptyTab);
    translate(language);
  };

  const ask = async () => {
    clearTimeout(timer);
    const of = ++generation;
    const answer = await post("comparison", { language, comparison, tag, listed: stored() });
    const news = answer && (await answer.json().catch(() => null));
    if (of !== generation) return;
    if (!news) timer = setTimeout(ask, RETRY_MS);
    else {
      take(news);
      if (!news.finished) timer = setTimeout(ask, BUSY_MS);
    }
  };

  const take = (news) => {
    if (news.known) {
      put(byId("compare-progress"), news.progress);
      put(byId("compare-player-box"), news.player);
      if (news.tag) {
        tag = news.tag;
        put(byId("comparison"), news.contents);
      }
    } else clear();
    const list = byId("comparisons").querySelector("ul");
    const items = stored().filter((id) => news.listed[id]).map((id) => {
      const item = document.createElement("li");
      item.dataset.comparison = id;
      item.innerHTML = news.listed[id];
      item.querySelector(".open").setAttribute("aria-current", id === comparison);
      return item;
    });
    const html = items.map((item) => item.outerHTML).join("");
    if (list.asrHtml !== html) { // else the question of a remove button would be lost
      list.asrHtml = html;
      list.replaceChildren(...items);
    }
    byId("comparisons").hidden = !items.length;
  };

  const open = (id) => {
    opening = id;
    byId("open-comparison").click(); // Gradio keeps the id, then calls `show`
  };

  const remove = async (button, id) => {
    if (!sure(button) || !(await post("comparison/remove", { comparison: id }))) return;
    store(stored().filter((other) => other !== id));
    if (id === comparison) open("");
    else ask();
  };

  const judge = async (vote) => {
    if (await post("judge", { comparison, ...vote })) ask();
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
    else if (hit("#comparisons .open")) open(hit("li").dataset.comparison);
    else if (hit("#comparisons .remove")) remove(hit(".remove"), hit("li").dataset.comparison);
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

  return { show, opened: () => opening };
})();
