// The microphone tab: the recorder's buttons, level and time, and what becomes of a recording that was interrupted.
window.asrRecord = (() => {
  const TICK_MS = 250, SETTLE_MS = 8000, DEVICE = "asr-microphone", UNSENT_FROM_S = 2.5, FLOOR_DB = -60;
  const byId = (id) => document.getElementById(id);
  const microphone = window.asrMicrophone, outbox = window.asrOutbox;

  // idle, opening, recording, paused, interrupted (by a reload, or a device that went), ending (it waits to be whole on the
  // server), handing (the page makes it a job), elsewhere (another tab of this browser records)
  let phase = "idle";
  let peak = 0, shownPeak = 0, problem = "", settling = 0, release = null, looked;
  const looking = new Promise((resolve) => { looked = resolve; }); // until it is known whether a recording is left

  // -- words -------------------------------------------------------------------------------------------------------
  let texts = null;
  const say = (key, values = {}) => {
    texts ||= JSON.parse(byId("recorder").dataset.texts);
    return texts[key][window.asr.language()].replace(/\{(\w+)\}/g, (_, name) => values[name]);
  };
  const clock = (seconds) => {
    const [h, m, s] = [seconds / 3600, (seconds / 60) % 60, seconds % 60].map(Math.floor);
    return (h ? [h, `${m}`.padStart(2, "0")] : [m]).concat(`${s}`.padStart(2, "0")).join(":");
  };
  const at = (ms) => new Date(ms).toLocaleTimeString(window.asr.language(), { hour: "2-digit", minute: "2-digit", hour12: false });

  // -- the view ----------------------------------------------------------------------------------------------------
  const write = (element, text) => {
    if (element.textContent !== text) element.textContent = text;
  };

  const show = () => {
    if (!byId("recorder")) return;
    const opened = ["recording", "paused"].includes(phase) || (phase === "opening" && !!outbox.recording());
    const label = { recording: "pause", paused: "go_on", interrupted: "go_on" }[phase] || "record";
    write(byId("rec-main"), say(label));
    byId("rec-main").dataset.does = label;
    byId("rec-main").setAttribute("aria-disabled", waits()); // `disabled` would lose the focus
    byId("rec-stop").hidden = !opened;
    write(byId("rec-stop"), say("stop"));
    byId("rec-discard").hidden = phase !== "paused";
    for (const button of document.querySelectorAll("#rec-discard, #interrupted .discard")) {
      button.dataset.sure = say("sure");
      if (!button.classList.contains("sure")) write(button, say("discard"));
    }
    write(byId("rec-time"), clock(outbox.seconds()));
    byId("recorder").dataset.phase = phase;
    write(byId("captions-title"), say("captions"));
    write(byId("captions").querySelector(".hint"), say("captions_hint"));
    showState();
    showProblem();
    showInterrupted();
  };

  const showState = () => {
    const unsent = outbox.unsent(), tells = unsent > UNSENT_FROM_S || (phase === "ending" && unsent > 0);
    const lines = [];
    if (["recording", "paused", "ending", "handing", "elsewhere"].includes(phase)) lines.push(say(`now_${phase}`));
    if (!outbox.safe()) lines.push(say("unsafe"));
    write(byId("rec-state"), lines.join(" "));
    const said = { "": "unsent", offline: "unsent_offline", login: "unsent_login" }[outbox.link()];
    const unsaid = tells ? say(said, { seconds: Math.ceil(unsent) }) : "";
    write(byId("rec-unsent"), unsaid); // not a status: it changes each second
  };

  const showProblem = () => {
    const trouble = outbox.trouble(), said = problem ? say(problem) : trouble ? trouble[window.asr.language()] : "";
    byId("rec-problem").hidden = !said;
    write(byId("rec-problem").firstElementChild, said);
    byId("rec-tunnel").hidden = !["no_secure", "no_permission", "no_device", "no_reading"].includes(problem);
    const port = location.port || 80, host = location.hostname.replace(/^(localhost|127\.0\.0\.1|\[::1\])$/, "host");
    write(byId("rec-tunnel").querySelector("p"), say("tunnel"));
    write(byId("rec-tunnel").querySelector("code"), `ssh -L ${port}:127.0.0.1:${port} user@${host}`);
  };

  const showInterrupted = () => {
    const box = byId("interrupted"), { began = 0, touched = 0 } = outbox.recording() || {};
    box.hidden = phase !== "interrupted";
    const values = { length: clock(outbox.seconds()), at: at(touched), began: at(began) };
    write(box.querySelector("p"), say("interrupted", values));
    for (const name of ["go_on", "transcribe"]) write(box.querySelector(`.${name}`), say(name));
  };

  const showLevel = () => {
    shownPeak = Math.max(peak, shownPeak * 0.8);
    peak = 0;
    const share = shownPeak ? Math.max(0, 1 - (20 * Math.log10(shownPeak)) / FLOOR_DB) : 0;
    byId("rec-level").firstElementChild.style.width = `${Math.round(100 * share)}%`;
    byId("rec-level").classList.toggle("clipped", shownPeak > 0.99);
  };

  const showDevices = async () => {
    const found = await microphone.devices(), select = byId("rec-device").querySelector("select");
    const html = found.map(({ deviceId }, n) => `<option value="${deviceId}">${n}</option>`).join("");
    if (select.asrHtml !== html) {
      select.innerHTML = select.asrHtml = html;
      found.forEach(({ label }, n) => { select.options[n].textContent = label; });
      const kept = localStorage.getItem(DEVICE);
      if (found.some(({ deviceId }) => deviceId === kept)) select.value = kept;
    }
    byId("rec-device").hidden = found.length < 2;
    write(byId("rec-device").querySelector("span"), say("device"));
  };

  const waits = () => ["opening", "ending", "handing"].includes(phase);

  const go = (next) => {
    phase = next;
    show();
  };

  // -- what the buttons do -----------------------------------------------------------------------------------------
  const own = () => new Promise((resolve) => { // one tab of a browser records; a closed tab lets go by itself
    if (release) return resolve(true);
    navigator.locks.request("asr-recorder", { ifAvailable: true }, (lock) => {
      resolve(!!lock);
      return lock && new Promise((end) => { release = end; });
    });
  });

  const listen = async () => { // opens the microphone and begins, or goes on
    if (outbox.trouble()?.reason === "too_long") return show();
    const others = phase === "elsewhere";
    go("opening");
    problem = "";
    try {
      if (!window.isSecureContext) throw new DOMException("", "SecurityError");
      await looking;
      if (phase !== "opening") return; // one is left, or another tab records
      if (!(await own())) return go("elsewhere");
      if (others && (await outbox.restore())) return go("interrupted"); // the other tab was closed
      const sinks = { piece: outbox.add, peak: (value) => { peak = Math.max(peak, value); }, lost };
      const rate = await microphone.open(localStorage.getItem(DEVICE) || "", outbox.recording()?.rate || 0, sinks);
      if (!outbox.recording()) await outbox.begin(rate);
      else if (rate !== outbox.recording().rate) throw new DOMException("", "NotSupportedError");
    } catch (error) {
      await microphone.close();
      problem = { SecurityError: "no_secure", NotAllowedError: "no_permission", NotFoundError: "no_device",
        OverconstrainedError: "no_device", NotReadableError: "no_reading", NotSupportedError: "no_restart" }[error.name] || "no_reading"; // prettier-ignore
      if (error.name === "OverconstrainedError") localStorage.removeItem(DEVICE);
      return go(outbox.recording() ? "interrupted" : "idle");
    }
    microphone.collect(true);
    go("recording");
    window.asrCaptions.follow();
    showDevices();
  };

  const rest = async (next) => { // the microphone off, the last piece in the outbox
    go("opening");
    await microphone.collect(false);
    microphone.close();
    peak = shownPeak = 0;
    go(next);
  };

  const lost = () => phase === "recording" && rest("interrupted");

  const stop = async () => {
    if (document.activeElement === byId("rec-stop")) byId("rec-main").focus(); // the button goes
    if (phase === "recording") await rest("ending");
    if (!outbox.seconds()) return discard();
    go("ending");
    await outbox.end(true);
    proceed();
  };

  const discard = async () => {
    const { id } = outbox.recording();
    if (phase === "recording" || phase === "paused") await rest("idle");
    await outbox.clear();
    window.asrCaptions.clear();
    window.asr.post("capture/discard", { capture: id }); // else it is deleted after seven days
    leave();
  };

  const leave = () => {
    microphone.close();
    release?.();
    release = null;
    go("idle");
  };

  const proceed = () => { // after each piece that arrived
    const { reason } = outbox.trouble() || {};
    if (reason === "too_long" && phase === "recording") rest("paused");
    if (reason === "too_long") outbox.cut();
    if (reason === "finished") settle();
    if (reason === "unknown") problem = "forgotten"; // the outbox has begun anew with what was left
    if (phase !== "ending" || !outbox.whole()) return show();
    go("handing");
    byId("submit-recording").click(); // Gradio makes the job, with the page's model and options, then calls `settle`
    settling = setTimeout(settle, SETTLE_MS); // its answer may be lost
  };

  const isOver = (found) => ["done", "discarded"].includes(found?.state) || (found?.state === "unknown" && outbox.recording().sent > 0);

  const settle = async () => { // whether the server has made the job
    clearTimeout(settling);
    const found = outbox.recording() && (await outbox.look());
    if (!outbox.recording()) return;
    if (found?.state === "done") {
      window.asr.listed([found.job]);
      await outbox.clear();
      return leave();
    }
    if (found?.state === "discarded") return outbox.clear().then(leave);
    if (isOver(found)) { // a server whose folder is another one does not know it
      await (outbox.whole() ? outbox.clear().then(leave) : outbox.anew());
      if (phase === "handing") phase = "ending";
      problem = "forgotten";
      return show();
    }
    if (found) { // refused: the page says why, and the recording waits
      await outbox.end(false);
      return go("interrupted");
    }
    settling = setTimeout(settle, SETTLE_MS);
  };

  const submission = () => { // called by Gradio's event
    const { id, pieces, began } = outbox.recording() || { id: "", pieces: 0, began: 0 };
    const date = new Date(began - 60000 * new Date(began).getTimezoneOffset()).toISOString();
    return { capture: id, pieces, name: `${say("name")} ${date.slice(0, 10)} ${date.slice(11, 16).replace(":", ".")}.wav` };
  };

  const transcribe = () => { // the page's own button: "" beside the upload, else what there is to transcribe
    if (!byId("recorder")?.offsetParent) return "";
    if (["recording", "paused", "interrupted"].includes(phase)) stop();
    return phase === "idle" || phase === "opening" ? "nothing" : "under way";
  };

  // -- the page ----------------------------------------------------------------------------------------------------
  const start = async () => {
    if (!byId("recorder") && (await outbox.peek())) byId("microphone-tab-button")?.click();
    while (!byId("recorder")) await new Promise((resolve) => setTimeout(resolve, 200)); // Gradio makes a tab when it opens
    show();
    if (!window.isSecureContext || !navigator.mediaDevices) {
      problem = "no_secure";
      looked();
      return show();
    }
    navigator.mediaDevices.addEventListener("devicechange", showDevices);
    showDevices();
    for (let tries = 3; !(await own()); tries -= 1) { // after a reload, the page before may not be gone yet
      if (!tries) {
        go("elsewhere");
        return looked();
      }
      await new Promise((resolve) => setTimeout(resolve, 500));
    }
    const left = await outbox.restore();
    if (left) go(left.ended ? "ending" : "interrupted");
    else if (phase === "idle") leave(); // else somebody waits to record
    looked();
    if (!left) return;
    const found = await outbox.look();
    if (isOver(found)) await settle();
    if (!outbox.recording()) return;
    window.asrCaptions.follow();
    outbox.send();
    proceed();
  };

  outbox.onchange(proceed);
  document.addEventListener("asr-language", show);
  window.addEventListener("beforeunload", (event) => { if (phase === "recording") event.preventDefault(); });
  setInterval(() => { if (["recording", "ending"].includes(phase)) show(); }, TICK_MS);
  setInterval(() => { if (phase === "recording") showLevel(); }, 60);
  document.addEventListener("click", ({ target }) => {
    const hit = (selector) => target.closest(selector);
    if (waits() && hit("#rec-main, #rec-stop, #rec-discard")) return;
    if (hit("#rec-main")) {
      if (phase === "recording") rest("paused");
      else listen();
    } else if (hit("#rec-stop") || hit("#interrupted .transcribe")) stop();
    else if (hit("#interrupted .go_on")) {
      byId("microphone-tab-button")?.click();
      listen();
    } else if (hit("#rec-discard, #interrupted .discard") && window.asr.sure(target)) discard();
  });
  document.addEventListener("change", ({ target }) => {
    if (target.closest("#rec-device")) localStorage.setItem(DEVICE, target.value);
  });

  return { start, settle, submission, transcribe, busy: () => ["opening", "recording", "paused", "ending", "handing"].includes(phase) };
})();
