// Captions of the recording that is being made: final lines, and the open one that still changes.
window.asrCaptions = (() => {
  const RETRY_MS = 1000, BEGIN_AGAIN_MS = 4000, FAILED_MS = 15000, TIMEOUT_MS = 15000;
  const byId = (id) => document.getElementById(id);
  const outbox = window.asrOutbox;

  let shown = ""; // the recording whose captions are shown
  let following = false, series = "", version = -1, seen = 0, end = 0, begunAt = 0;
  const wait = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

  const clear = () => {
    byId("captions").querySelector(".final").replaceChildren();
    putOpen("");
    byId("captions").classList.remove("begun");
    byId("captions-failure").textContent = "";
    [shown, series, version, seen, end, begunAt] = ["", "", -1, 0, 0, 0];
  };

  const putOpen = (text) => {
    const open = byId("captions").querySelector(".open");
    if (open.textContent !== text) open.textContent = text;
  };

  const putLine = ({ html }) => {
    const line = document.createElement("p");
    line.innerHTML = html;
    byId("captions").querySelector(".final").append(line);
  };

  const take = (told) => {
    const box = byId("captions"), atEnd = box.scrollHeight - box.scrollTop - box.clientHeight < 40;
    if (told.series !== series) [series, seen] = [told.series, 0]; // another server process, or the page is new
    for (const line of told.lines) {
      putLine(line);
      end = line.end;
    }
    seen += told.lines.length;
    version = told.version;
    putOpen(told.open);
    box.classList.toggle("begun", box.querySelector(".final").childElementCount > 0 || !!told.open);
    byId("captions-failure").innerHTML = told.failure;
    if (atEnd) box.scrollTop = box.scrollHeight;
  };

  const begin = () => { // Gradio tells the server the page's model and options
    if (Date.now() - begunAt < BEGIN_AGAIN_MS) return;
    begunAt = Date.now();
    byId("follow-recording").click();
  };

  const ask = async () => {
    const body = JSON.stringify({ capture: shown, language: window.asr.language(), series, seen, version });
    const headers = { "Content-Type": "application/json" };
    const answer = await fetch("capture/captions", { method: "POST", headers, body, signal: AbortSignal.timeout(TIMEOUT_MS) });
    return answer.ok ? answer.json() : null;
  };

  const follow = async () => { // until the recording is a job or gone
    const recording = () => outbox.recording();
    if (!recording()) return;
    if (shown !== recording().id) clear();
    shown = recording().id;
    if (following) return;
    following = true;
    while (recording()) {
      if (shown !== recording().id) shown = recording().id; // begun anew
      const told = recording().sent ? await ask().catch(() => null) : null;
      if (told?.series) take(told);
      if (told && (!told.series || told.rests) && !told.failure && listens()) begin();
      if (!told || told.rests || !told.series) await wait(told?.failure ? FAILED_MS : RETRY_MS);
    }
    putOpen("");
    following = false;
  };

  const listens = () => byId("recorder").dataset.phase === "recording";

  return { follow, clear, beginning: () => ({ capture: shown, start: end }) };
})();
