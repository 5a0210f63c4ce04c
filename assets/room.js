// A tab that shows one entry of a list: asks the server how it stands, shows it, and keeps the list in the browser.
// `key` names the entry in questions and in `data-*`; `box`, `progress` and `list` are ids of elements; `opener` is the
// button by which Gradio keeps the id of an entry that was clicked. `take` and `clear` are for what else a tab shows.
window.asrRoom = ({ key, kept, box, progress, list, opener, every, remove, take = () => {}, clear = () => {} }) => {
  const RETRY_MS = 2000, MOST_LISTED = 20;
  const byId = (id) => document.getElementById(id);
  const { post, put, sure, translate } = window.asr;

  let shown = "", language = "en", tag = "", opening = "", timer = 0;
  let generation = 0; // grows with each question: only the answer to the last one counts
  let emptyTab = ""; // the contents while no entry is shown

  const stored = () => JSON.parse(localStorage.getItem(kept) || "[]");
  const store = (ids) => localStorage.setItem(kept, JSON.stringify(ids.slice(0, MOST_LISTED)));

  const show = (id, label) => {
    if (!byId(box)) return; // Gradio makes a tab when it is first opened, which calls this again
    emptyTab = emptyTab || byId(box).innerHTML;
    [shown, language, tag] = [id || "", label === "中文" ? "zh" : "en", ""];
    if (shown && !stored().includes(shown)) store([shown, ...stored()]);
    if (!shown) putNothing();
    translate(language); // the page may be told of another language later
    ask();
  };

  const putNothing = () => {
    put(byId(progress), "");
    put(byId(box), emptyTab);
    clear();
    translate(language);
  };

  const ask = async () => {
    clearTimeout(timer);
    const of = ++generation;
    const answer = await post(key, { language, [key]: shown, tag, listed: stored() });
    const news = answer && (await answer.json().catch(() => null));
    if (of !== generation) return;
    if (!news) timer = setTimeout(ask, RETRY_MS);
    else {
      putNews(news);
      if (!news.finished) timer = setTimeout(ask, every);
    }
  };

  const putNews = (news) => {
    if (news.known) {
      put(byId(progress), news.progress);
      take(news);
      if (news.tag) {
        tag = news.tag;
        put(byId(box), news.contents);
      }
    } else putNothing();
    const items = stored().filter((id) => news.listed[id]).map((id) => {
      const item = document.createElement("li");
      item.dataset[key] = id;
      item.innerHTML = news.listed[id];
      item.querySelector(".open").setAttribute("aria-current", id === shown);
      for (const when of item.querySelectorAll("time")) {
        const at = new Date(1000 * when.dataset.at);
        when.textContent = at.toLocaleString(language, { dateStyle: "medium", timeStyle: "short" });
      }
      return item;
    });
    const entries = byId(list).querySelector("ul");
    const html = items.map((item) => item.outerHTML).join("");
    if (entries.asrHtml !== html) { // else the question of a remove button would be lost
      entries.asrHtml = html;
      entries.replaceChildren(...items);
    }
    byId(list).hidden = !items.length;
  };

  const open = (id) => {
    opening = id;
    byId(opener).click(); // Gradio keeps the id, then calls `show`
  };

  document.addEventListener("click", async ({ target }) => {
    const id = target.closest(`#${list} li`)?.dataset[key];
    if (id && target.closest(".open")) open(id);
    else if (id && target.closest(".remove")) {
      if (!sure(target.closest(".remove")) || !(await remove(id))) return;
      store(stored().filter((other) => other !== id));
      if (id === shown) open("");
      else ask();
    }
  });

  return { show, ask, opened: () => opening, shown: () => shown };
};
