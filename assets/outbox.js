// Pieces of the recording on their way to the server. They stay in IndexedDB until the server has them on its disk, and
// are sent again until it has: over a dead tunnel, a reload and a server that was killed.
window.asrOutbox = (() => {
  const RETRY_MS = 1000, SLOW_RETRY_MS = 5000, TIMEOUT_MS = 15000, MOST_TOGETHER = 16;
  const ENDS = ["too_long", "finished", "malformed"]; // refusals that sending again does not cure

  // The recording: id, rate, pieces and samples as recorded, `sent` and `sentSamples` as the server has them, `began` and
  // `touched` in milliseconds, `ended` once it is to be transcribed.
  let recording = null;
  let trouble = null; // { reason, en, zh } of the last refusal
  let link = ""; // why the last try did not reach the recorder: "offline", "login"; empty if it did
  let sending = false, changed = () => {};
  let safe = true; // false once IndexedDB did not take a piece: it is full, or not allowed
  const unkept = new Map(); // pieces that are not in IndexedDB (yet)

  // -- IndexedDB ---------------------------------------------------------------------------------------------------
  let opened = null;
  const database = () => (opened ||= new Promise((resolve, reject) => {
    const request = indexedDB.open("asr-recorder", 1);
    request.onupgradeneeded = () => ["pieces", "recording"].forEach((store) => request.result.createObjectStore(store));
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  }));

  const inStores = async (mode, work) => { // `work` returns a request whose result is wanted, or nothing
    const db = await database();
    return new Promise((resolve, reject) => {
      const transaction = db.transaction(["pieces", "recording"], mode);
      const request = work(transaction.objectStore("pieces"), transaction.objectStore("recording"));
      transaction.oncomplete = () => resolve(request?.result);
      transaction.onabort = transaction.onerror = () => reject(transaction.error);
    });
  };

  const note = () => inStores("readwrite", (_, kept) => { kept.put(recording, "now"); }).catch(() => {});

  // -- what the page does ------------------------------------------------------------------------------------------
  const fresh = (rate) => {
    const id = btoa(String.fromCharCode(...crypto.getRandomValues(new Uint8Array(18)))).replace(/\+/g, "-").replace(/\//g, "_");
    const now = Date.now();
    return { id, rate, pieces: 0, samples: 0, sent: 0, sentSamples: 0, began: now, touched: now, ended: false };
  };

  const begin = (rate) => {
    recording = fresh(rate);
    trouble = null;
    return note();
  };

  const add = async (samples) => {
    if (!recording) return;
    const number = recording.pieces++;
    recording.samples += samples.length;
    recording.touched = Date.now();
    unkept.set(number, samples);
    send();
    try {
      await inStores("readwrite", (pieces, kept) => { pieces.put(samples, number); kept.put(recording, "now"); });
      unkept.delete(number);
    } catch {
      safe = false;
    }
  };

  const end = (ended) => {
    recording.ended = ended;
    send();
    return note();
  };

  const clear = async () => {
    recording = trouble = null;
    unkept.clear();
    await inStores("readwrite", (pieces, kept) => { pieces.clear(); kept.clear(); }).catch(() => {});
    changed();
  };

  const cut = () => { // the server takes no more: what it has is the recording
    const { sent, sentSamples } = recording;
    Object.assign(recording, { pieces: sent, samples: sentSamples });
    unkept.clear();
    return inStores("readwrite", (pieces, kept) => { pieces.clear(); kept.put(recording, "now"); }).catch(() => {});
  };

  const anew = async () => { // the server has lost what it had: the rest becomes a recording of its own
    const { rate, began, ended, sent } = recording, rest = [];
    while (sent + rest.length < recording.pieces) rest.push(await piece(sent + rest.length));
    recording = { ...fresh(rate), began, ended };
    unkept.clear();
    inStores("readwrite", (pieces) => { pieces.clear(); }).catch(() => {});
    for (const samples of rest) if (samples) add(samples);
  };

  // The recording that an earlier page, or another tab, has left; null without one.
  const peek = async () => (await inStores("readonly", (_, kept) => kept.get("now")).catch(() => null)) || null;

  const restore = async () => {
    recording = await peek();
    return recording;
  };

  // -- sending -----------------------------------------------------------------------------------------------------
  const ask = async (path, options) => { // the answer as JSON with its status; null if there is none
    try {
      const answer = await fetch(path, { method: "POST", signal: AbortSignal.timeout(TIMEOUT_MS), ...options });
      const said = answer.headers.get("content-type")?.includes("json") ? await answer.json() : {};
      link = answer.status === 401 ? "login" : answer.status < 500 || said.reason ? "" : "offline";
      return { status: answer.status, ...said };
    } catch {
      link = "offline";
      return null;
    }
  };

  const look = async () => { // the recording as the server has it; null if that is not known
    const headers = { "Content-Type": "application/json" };
    const answer = await ask("capture/look", { headers, body: JSON.stringify({ capture: recording.id }) });
    if (answer?.state === "open") arrived(answer);
    return answer?.state ? answer : null;
  };

  const arrived = ({ pieces, samples }) => {
    if (!recording || pieces < recording.sent) return;
    const before = recording.sent;
    [recording.sent, recording.sentSamples] = [pieces, samples];
    for (let n = before; n < pieces; n += 1) unkept.delete(n);
    if (pieces > before) {
      inStores("readwrite", (kept, now) => { kept.delete(IDBKeyRange.upperBound(pieces - 1)); now.put(recording, "now"); }).catch(() => {});
    }
  };

  const piece = async (number) =>
    unkept.get(number) || inStores("readonly", (pieces) => pieces.get(number)).catch(() => null);

  const sendSome = async () => { // returns the milliseconds to wait before the next ones
    const { id, rate, sent } = recording, together = [];
    while (together.length < MOST_TOGETHER && sent + together.length < recording.pieces) {
      const samples = await piece(sent + together.length);
      if (!samples) break;
      together.push(samples);
    }
    if (!together.length) return look().then(() => RETRY_MS);
    const sizes = together.map((samples) => samples.byteLength).join(",");
    const headers = { "Content-Type": "application/octet-stream", "X-Capture": id, "X-Piece": sent, "X-Rate": rate, "X-Sizes": sizes };
    const answer = await ask("capture/piece", { headers, body: new Blob(together) });
    if (recording?.id !== id) return 0;
    if (answer?.status === 200) {
      trouble = null;
      arrived(answer);
      return 0;
    }
    trouble = answer?.reason ? answer : null;
    if (answer?.reason === "ahead") await look();
    if (answer?.reason === "unknown") await anew();
    return answer?.reason ? SLOW_RETRY_MS : RETRY_MS;
  };

  const send = async () => {
    if (sending) return;
    sending = true;
    while (recording && recording.sent < recording.pieces && !ENDS.includes(trouble?.reason)) {
      const wait = await sendSome();
      changed();
      if (wait) await new Promise((resolve) => setTimeout(resolve, wait));
    }
    sending = false;
    changed();
  };

  return {
    begin, add, end, cut, anew, clear, peek, restore, look, send,
    recording: () => recording, trouble: () => trouble, link: () => link,
    seconds: () => (recording ? recording.samples / recording.rate : 0),
    unsent: () => (recording ? (recording.samples - recording.sentSamples) / recording.rate : 0),
    whole: () => !!recording && recording.sent === recording.pieces,
    safe: () => safe, onchange: (call) => { changed = call; },
  };
})();
