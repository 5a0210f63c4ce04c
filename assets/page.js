// The page's own script. It asks the server for news of the jobs and shows them, keeps the list of jobs in the browser,
// plays a segment on a click, moves the subtitle under the player, and cleans the address. correct.js changes lines.
window.asr = (() => {
  const BUSY_MS = 600, IDLE_MS = 5000, RETRY_MS = 2000, TIMEOUT_MS = 20000, ZIP_TIMEOUT_MS = 600000, MOST_JOBS = 100, STORED = "asr-jobs", UNSURE = "asr-unsure";
  const byId = (id) => document.getElementById(id);

  // The token of the printed address has become a cookie: keep it out of bookmarks and of what is shared.
  const here = new URL(location.href);
  if (here.searchParams.has("token")) {
    here.searchParams.delete("token");
    history.replaceState(history.state, "", here);
  }

  document.documentElement.setAttribute("aria-busy", "true"); // until the choices are restored

  // -- what is shown -----------------------------------------------------------------------------------------------
  let started = false, language = "en";
  let job = "", since = 0, ended = true; // the job beside the list, the last chunk that is shown of it
  let generation = 0; // grows when another job or language is shown: answers to earlier questions no longer count
  let told = 0; // the generation that correct.js has been told of
  let opening = ""; // the job of the entry that was clicked
  let emptyPage = null; // the element that stands in place of a transcript while no job is shown
  const entries = new Map(); // id of a listed job -> { tag, finished, item }

  const stored = () => JSON.parse(localStorage.getItem(STORED) || "[]");
  const store = (ids) => localStorage.setItem(STORED, JSON.stringify(ids.slice(0, MOST_JOBS)));

  // -- words (ui/uploads.py) ---------------------------------------------------------------------------------------
  const words = () => JSON.parse(byId("words").dataset.words);
  const said = (key, values = {}) => words()[language][key].replace(/{(\w+)}/g, (_, name) => values[name]);
  const clock = (seconds) => { // as render.py
    const [h, m, s] = [seconds / 3600, (seconds / 60) % 60, seconds % 60].map(Math.floor);
    return (h ? [h, String(m).padStart(2, "0")] : [m]).concat(String(s).padStart(2, "0")).join(":");
  };
  const megabytes = (count) => (count >= 1e9 ? `${(count / 1e9).toFixed(1)} GB` : `${(count / 1e6).toFixed(count < 1e8 ? 1 : 0)} MB`);

  const copy = async (text, button) => { // the button says for a while that it is done
    if (navigator.clipboard) await navigator.clipboard.writeText(text);
    else { // plain http
      const area = document.createElement("textarea");
      area.value = text;
      document.body.append(area);
      area.select();
      document.execCommand("copy");
      area.remove();
      button.focus();
    }
    if (button.asrBefore) return;
    button.asrBefore = button.textContent;
    button.textContent = said("copied");
    setTimeout(() => { button.textContent = button.asrBefore; button.asrBefore = ""; }, 2000);
  };

  const put = (element, html) => {
    if (element.asrHtml === html) return; // else the player would stop and a focus be lost
    element.asrHtml = html;
    element.innerHTML = html;
  };

  const show = (id, label) => {
    if (!started) return;
    const chosen = label === "中文" ? "zh" : "en";
    if (id === job && chosen === language && generation) return;
    if (chosen !== language) for (const entry of entries.values()) entry.tag = "";
    [job, language, since, ended] = [id || "", chosen, 0, !id];
    generation += 1;
    if (job && !stored().includes(job)) store([job, ...stored()]);
    if (!job) putNoJob();
    translate();
    mark();
    ask();
  };

  const translate = (to = language) => {
    document.documentElement.lang = to === "zh" ? "zh-CN" : "en";
    document.documentElement.style.setProperty("--drop", JSON.stringify(said("drop")));
    for (const element of document.querySelectorAll("[data-en]")) element.textContent = element.dataset[to];
    document.dispatchEvent(new CustomEvent("asr-language"));
  };

  const tell = () => {
    told = generation;
    document.dispatchEvent(new CustomEvent("asr-shown", { detail: { job, language } }));
  };

  const putNoJob = () => {
    for (const id of ["progress", "player-box", "result"]) put(byId(id), "");
    byId("hold").hidden = true;
    byId("transcript").replaceChildren(emptyPage);
    tell();
  };

  const putJob = (news, anew) => {
    put(byId("progress"), news.progress);
    const hold = byId("hold"); // not a part of the progress, which is put anew under a finger
    hold.hidden = !news.hold;
    if (news.hold) [hold.textContent, hold.dataset.action] = [news.hold.label, news.hold.action];
    putText(news, anew);
    put(byId("player-box"), news.player);
    put(byId("result"), news.result);
    underline(localStorage.getItem(UNSURE) !== "off");
  };

  const underline = (on) => { // of words in doubt
    byId("transcript").classList.toggle("plain", !on);
    if (byId("show-unsure")) byId("show-unsure").checked = on;
  };

  const putText = (news, anew) => {
    const box = byId("transcript");
    let list = anew ? null : box.querySelector(".transcript:not(.empty)");
    if (!list) {
      list = document.createElement("div");
      list.className = "transcript";
      if (news.rows || news.waiting) list.setAttribute("aria-live", "polite");
      else list.classList.add("empty");
      if (!news.rows && !news.waiting) list.innerHTML = news.empty;
      box.replaceChildren(list);
    }
    if (!news.rows && list.asrWaiting === news.waiting) return;
    for (const waiting of list.querySelectorAll(".waiting")) waiting.remove();
    list.insertAdjacentHTML("beforeend", news.rows + news.waiting);
    list.asrWaiting = news.waiting;
  };

  // -- the list ----------------------------------------------------------------------------------------------------
  const putEntry = (id, entry) => {
    const item = entries.get(id)?.item || document.createElement("li");
    item.dataset.job = id;
    item.innerHTML = entry.html;
    const when = item.querySelector("time");
    when.textContent = new Date(1000 * when.dataset.at).toLocaleString(language, { dateStyle: "medium", timeStyle: "short" });
    entries.set(id, { tag: entry.tag, finished: entry.finished, item });
  };

  const order = () => {
    let next = null; // newest first, and nothing is moved that stands where it should
    for (const id of stored().reverse()) {
      const item = entries.get(id)?.item;
      if (!item) continue;
      if (item.parentNode !== list() || item.nextElementSibling !== next) list().insertBefore(item, next);
      next = item;
    }
    byId("jobs").hidden = !list().children.length;
    byId("zip").hidden = list().querySelectorAll(".state.done").length < 2;
  };

  const listed = (ids) => { // submitted by one click, in this order; the first one is shown
    const known = stored();
    store([...ids.filter((id) => !known.includes(id)).reverse(), ...known]);
    ask();
  };

  const zip = async () => {
    const answer = await post("transcript/zip", { jobs: stored().reverse() }, ZIP_TIMEOUT_MS);
    if (!answer) return;
    const link = document.createElement("a");
    link.href = URL.createObjectURL(await answer.blob());
    link.download = "transcripts.zip";
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), TIMEOUT_MS);
  };

  const list = () => byId("jobs").querySelector("ul");

  const mark = () => {
    for (const [id, { item }] of entries) item?.querySelector(".open").setAttribute("aria-current", id === job);
  };

  const forget = (id) => {
    entries.get(id)?.item?.remove();
    entries.delete(id);
    store(stored().filter((other) => other !== id));
    order();
    if (id === job) open("");
  };

  const sure = (button) => { // the first click asks, the second one within 4 s does it
    if (button.classList.contains("sure")) return true;
    const before = button.textContent;
    button.classList.add("sure");
    button.textContent = button.dataset.sure;
    setTimeout(() => { button.classList.remove("sure"); button.textContent = before; }, 4000);
    return false;
  };

  const remove = async (button, id) => {
    if (sure(button) && (await post("remove", { job: id }))) forget(id);
  };

  const open = (id) => {
    opening = id;
    byId("open-job").click(); // Gradio keeps the id as the job to cancel and to show after a reload, then calls `show`
  };

  // -- the news ----------------------------------------------------------------------------------------------------
  let timer = 0, asking = false, server = "", band = null;
  const records = () => window.asrRecord.busy(); // a reload would interrupt the recording

  const post = async (path, body, within = TIMEOUT_MS) => {
    try {
      const headers = { "Content-Type": "application/json" };
      const answer = await fetch(path, { method: "POST", headers, body: JSON.stringify(body), signal: AbortSignal.timeout(within) });
      if (answer.status === 401 && !records()) location.reload(); // to the login
      byId("offline").hidden = answer.ok;
      return answer.ok && answer;
    } catch {
      byId("offline").hidden = false;
      return null;
    }
  };

  const question = () => {
    const jobs = {};
    for (const id of stored()) {
      const entry = entries.get(id);
      if (!entry || !entry.finished || !entry.tag) jobs[id] = entry?.tag || "";
    }
    return { language, model: byId("model")?.querySelector("select")?.value || "", job: ended ? "" : job, since, jobs };
  };

  const ask = async () => {
    clearTimeout(timer);
    if (asking) return; // its end looks whether another question has come up
    asking = true;
    const asked = question(), of = generation;
    const answer = await post("news", asked);
    const news = answer && (await answer.json().catch(() => null));
    asking = false;
    const restarted = news && server && news.server !== server;
    if (restarted && !records()) return location.reload();
    if (news) take(news, asked, of);
    timer = setTimeout(ask, of !== generation ? 0 : !news ? RETRY_MS : news.busy ? BUSY_MS : IDLE_MS);
  };

  const take = (news, asked, of) => {
    server = server || news.server;
    if (of !== generation) return;
    if (news.job) {
      putJob(news.job, asked.since === 0 || news.job.anew);
      since = news.job.since;
      ended = news.job.finished;
      if (ended || told !== generation || (asked.since === 0 && news.job.rows)) tell(); // correct.js asks what is new
    } else if (asked.job) { // the server does not know it
      ended = true;
      putNoJob();
      translate();
    }
    for (const [id, entry] of Object.entries(news.jobs)) {
      if (entry) putEntry(id, entry);
      else entries.set(id, { tag: "unknown", finished: true });
    }
    order();
    mark();
    if (band !== news.band && byId("refresh")) {
      band = news.band;
      byId("refresh").click(); // Gradio's components show what has changed
    }
  };

  const start = (id, label) => {
    if (started) return;
    started = true;
    document.documentElement.removeAttribute("aria-busy");
    emptyPage = byId("transcript").firstElementChild;
    show(id, label);
    document.dispatchEvent(new Event("asr-started"));
  };

  // -- the player --------------------------------------------------------------------------------------------------
  const player = () => byId("player");
  document.addEventListener("click", (event) => {
    const hit = (selector) => event.target.closest(selector);
    if (hit(".segment .play, .hotwords .seek") && player()) {
      player().currentTime = Number(hit("[data-start]").dataset.start);
      player().play();
    } else if (hit("#copy")) {
      const lines = [...document.querySelectorAll("#transcript .segment")].map((segment) => {
        const speaker = segment.querySelector(".speaker")?.textContent;
        return (speaker ? `${speaker}: ` : "") + segment.querySelector(".words").textContent.trim();
      });
      copy(lines.join("\n"), hit("#copy"));
    } else if (hit("#compare-here")) byId("compare-job").click(); // it has the id of the job that is shown
    else if (hit("#hold")) post("hold", { job, action: hit("#hold").dataset.action }).then(ask);
    else if (hit("#zip")) zip();
    else if (hit("#jobs .open")) open(hit("li").dataset.job);
    else if (hit("#jobs .remove")) remove(hit(".remove"), hit("li").dataset.job);
  });
  const follow = () => {
    const subtitle = byId("subtitle");
    if (!player() || !subtitle) return;
    const now = player().currentTime;
    let said = "";
    for (const segment of document.querySelectorAll(".segment")) {
      const current = Number(segment.dataset.start) <= now && now < Number(segment.dataset.end);
      segment.classList.toggle("current", current);
      if (current) said = segment.querySelector(".words").textContent;
    }
    subtitle.textContent = said;
  };
  document.addEventListener("change", (event) => {
    if (event.target.id !== "show-unsure") return;
    localStorage.setItem(UNSURE, event.target.checked ? "on" : "off");
    underline(event.target.checked);
  });
  // timeupdate does not bubble: listen while it is captured.
  document.addEventListener("timeupdate", follow, true);
  document.addEventListener("seeked", follow, true);

  return {
    start, show, listed, opened: () => opening, post, put, sure, translate, words, said, clock, megabytes, copy,
    language: () => language,
  };
})();
