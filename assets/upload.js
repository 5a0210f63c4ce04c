// Uploads: how many bytes have left, the time left, a way to stop, and what to do when one breaks off. Gradio's component
// has none of these. It sends files through `fetch`; at its address the request goes through an XMLHttpRequest here, which
// counts. Also: files that are dropped anywhere on the page.
window.asrUpload = (() => {
  const PATH = "/gradio_api/upload", SPEED_OVER_MS = 5000;
  const BOXES = ["upload", "compare-upload", "bench-upload"];
  const byId = (id) => document.getElementById(id);
  const { words, said, clock, megabytes } = window.asr;
  const fetched = window.fetch.bind(window);

  window.fetch = (input, init) => {
    const address = new URL(input?.url || input, location.href);
    if (!address.pathname.endsWith(PATH) || !(init?.body instanceof FormData)) return fetched(input, init);
    return new Promise((settle, fail) => setTimeout(() => { // once the component shows that it uploads
      const box = BOXES.map(byId).find((one) => one?.querySelector(".uploading"));
      if (box) send(address, init.body, box, settle);
      else fetched(input, init).then(settle, fail);
    }));
  };

  // -- one upload --------------------------------------------------------------------------------------------------
  // `settle` gets the server's answer, or an empty list once the person has given up.
  const send = (address, body, box, settle) => {
    const files = body.getAll("files");
    const total = files.reduce((sum, file) => sum + file.size, 0);
    const name = files.length > 1 ? said("upload_several", { name: files[0].name, n: files.length - 1 }) : files[0].name;
    const panel = open(box);
    const request = new XMLHttpRequest();
    const marks = []; // times and bytes of the last seconds
    let done = 0;

    const end = (answer) => {
      panel.remove();
      settle(answer || new Response("[]", { headers: { "Content-Type": "application/json" } }));
    };
    const again = () => {
      panel.remove();
      send(address, body, box, settle);
    };
    const broke = () => problem(panel, said("upload_broke", { done: megabytes(done), total: megabytes(total) }), again, end);

    const progress = (event) => {
      done = Math.min(event.loaded, total); // the form around the files counts too
      const now = performance.now();
      marks.push([now, done]);
      while (marks.length > 2 && marks[0][0] < now - SPEED_OVER_MS) marks.shift();
      const [[at, before]] = marks;
      const speed = (done - before) / (now - at); // bytes a millisecond
      put(panel, name, done, total, speed ? (total - done) / speed / 1000 : null);
    };

    request.open("POST", address);
    request.responseType = "blob";
    request.upload.onprogress = progress;
    request.upload.onload = () => put(panel, said("upload_storing"), total, total, null);
    request.onerror = broke;
    request.onabort = () => end();
    request.onload = () => {
      const { status } = request;
      if (status === 401) location.reload(); // to the login
      else if (status >= 200 && status < 300) end(new Response(request.response, { status, headers: { "Content-Type": "application/json" } }));
      else if (status === 413) problem(panel, tooBig(total), null, end);
      else if (status === 507) problem(panel, said("upload_no_room"), again, end);
      else problem(panel, said("upload_refused", { status }), again, end);
    };
    put(panel, name, 0, total, null);
    panel.append(button("upload_stop", () => request.abort()));
    request.send(body);
  };

  const tooBig = (size) => said("upload_too_big", { size: megabytes(size), most: megabytes(words().mostBytes) });

  // -- the panel over the component --------------------------------------------------------------------------------
  const open = (box) => {
    box.querySelector(":scope > .upload-panel")?.remove();
    const panel = document.createElement("div");
    panel.className = "upload-panel";
    box.append(panel);
    return panel;
  };

  const button = (key, act) => {
    const made = document.createElement("button");
    made.className = key.replace("_", "-");
    made.textContent = said(key);
    made.onclick = act;
    return made;
  };

  const put = (panel, name, done, total, left) => {
    let line = panel.querySelector(".progress");
    if (!line) {
      panel.insertAdjacentHTML("afterbegin", `<div class="progress"><div class="line"><span></span></div>
        <div class="bar" role="progressbar" aria-valuemin="0" aria-valuemax="100"><div></div></div>
        <div class="line"><span class="figures"></span></div></div>`);
      line = panel.querySelector(".progress");
      if (panel.parentNode.id === "upload") panel.insertAdjacentHTML("beforeend", `<p class="evidence"></p>`);
    }
    const percent = total ? (100 * done) / total : 100;
    const title = done < total || !total ? said("uploading", { name }) : name;
    line.querySelector("span").textContent = title;
    const figures = [said("of", { done: megabytes(done), total: megabytes(total) }), `${Math.floor(percent)} %`];
    if (left !== null && done < total) figures.push(said("left", { time: clock(left) }));
    line.querySelector(".figures").textContent = figures.join(" · ");
    const bar = line.querySelector(".bar");
    bar.setAttribute("aria-valuenow", Math.floor(percent));
    bar.setAttribute("aria-label", title);
    bar.firstElementChild.style.width = `${percent}%`;
    const hint = panel.querySelector(".evidence");
    if (hint) hint.textContent = said("upload_already");
  };

  const problem = (panel, text, again, close) => {
    panel.replaceChildren();
    const notice = document.createElement("p");
    notice.className = "said";
    notice.setAttribute("role", "alert");
    notice.textContent = text;
    const buttons = document.createElement("div");
    if (again) buttons.append(button("upload_again", again));
    buttons.append(button("upload_close", () => close()));
    panel.append(notice, buttons);
    panel.classList.add("bad");
  };

  // -- dropping ----------------------------------------------------------------------------------------------------
  const shown = (box) => box?.checkVisibility();

  const soon = async (find) => { // Gradio makes and shows its parts later
    for (let i = 0; i < 40 && !find(); i += 1) await new Promise((go) => setTimeout(go, 50));
    return find();
  };

  const target = () => { // the upload of the tab that is open; in the first tab it may be behind the microphone
    const find = () => BOXES.map(byId).find(shown);
    if (!find()) document.querySelector("#sources [role=tab]")?.click();
    return soon(find);
  };

  const give = async (items) => {
    const box = await target();
    if (!box || box.querySelector(".uploading")) return;
    const files = items.filter((item) => !item.folder).map((item) => item.file);
    const size = files.reduce((sum, file) => sum + file.size, 0);
    if (!files.length || size > words().mostBytes) {
      const panel = open(box);
      problem(panel, files.length ? tooBig(size) : said("upload_folder"), null, () => panel.remove());
      return;
    }
    const find = () => box.querySelector("input[type=file]");
    if (!find()) box.querySelector("button[aria-label]")?.click(); // a component for one file: another one takes its place
    const input = await soon(find);
    if (!input) return;
    const transfer = new DataTransfer();
    for (const file of input.multiple ? files : files.slice(0, 1)) transfer.items.add(file);
    input.files = transfer.files;
    input.dispatchEvent(new Event("change", { bubbles: true }));
  };

  const carries = (event) => event.dataTransfer?.types.includes("Files");
  const mark = (on) => document.documentElement.classList.toggle("dropping", on);
  const listen = (name, act) => document.addEventListener(name, (event) => {
    if (!carries(event)) return;
    event.preventDefault(); // or the browser would leave the page for the file
    event.stopPropagation();
    act(event);
  }, true);
  listen("dragenter", () => mark(true));
  listen("dragover", (event) => { event.dataTransfer.dropEffect = "copy"; });
  listen("dragleave", (event) => { if (!event.relatedTarget) mark(false); });
  listen("drop", (event) => {
    mark(false);
    give([...event.dataTransfer.items].filter((item) => item.kind === "file").map((item) => ({
      file: item.getAsFile(), folder: item.webkitGetAsEntry()?.isDirectory,
    })));
  });

  // Gradio names its button in English, and makes it anew.
  document.addEventListener("focusin", ({ target }) => target.closest(".upload-container")?.setAttribute("aria-label", said("drop")));

  // Files that are chosen and not dropped: the same limit, before a byte leaves.
  document.addEventListener("change", (event) => {
    const box = event.target.type === "file" && BOXES.map(byId).find((one) => one?.contains(event.target));
    const size = box ? [...event.target.files].reduce((sum, file) => sum + file.size, 0) : 0;
    if (!box || size <= words().mostBytes) return;
    event.stopImmediatePropagation();
    event.target.value = "";
    const panel = open(box);
    problem(panel, tooBig(size), null, () => panel.remove());
  }, true);
})();
