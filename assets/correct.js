// Lines of the result: corrects one in place, marks it as right, has it recognised again, and takes changes back. Gives
// speakers their names.
window.asrCorrect = (() => {
  const BUSY_MS = 800;
  const byId = (id) => document.getElementById(id);
  const { post, put } = window.asr;

  let job = "", language = "en", editor = "", timer = 0, counting = 0;
  let waiting = Promise.resolve(); // one request after the other: each answer has the lines as they are after it

  const lines = () => [...document.querySelectorAll("#transcript .segment:not(.waiting, .held)")];
  const numberOf = (line) => lines().indexOf(line);
  const seen = (line) => Number(line.dataset.n);

  // -- requests ----------------------------------------------------------------------------------------------------
  const ask = async (action, more) => {
    const of = job;
    const shown = {};
    lines().forEach((line, i) => { if (seen(line)) shown[i] = seen(line); });
    const answer = await post("corrections", { language, job, action, shown, ...more });
    const look = answer && (await answer.json().catch(() => null));
    return look && of === job ? look : null;
  };

  const send = (action, more = {}, saved = null) => {
    waiting = waiting.then(async () => {
      if (!job) return null;
      const look = await ask(action, more);
      if (look) take(look, saved);
      return look;
    });
    return waiting;
  };

  // `saved` is the line whose edited text the server has taken: of others, the text that is being written stays.
  const take = (look, saved) => {
    editor = look.editor;
    const all = lines();
    for (const [i, html] of Object.entries(look.lines)) {
      if (all[i]) renew(all[i], html, all[i] === saved && !look.refused);
    }
    for (const [i, line] of lines().entries()) {
      const redo = line.querySelector(".redo");
      if ((redo?.asrHtml || "") === (look.redos[i] || "")) continue;
      redo?.remove();
      if (!look.redos[i]) continue;
      line.append(made(look.redos[i]));
      line.lastElementChild.asrHtml = look.redos[i];
    }
    takeSpeakers(look);
    takeLegend(look.legend);
    clearTimeout(timer);
    if (look.busy) timer = setTimeout(() => send("look"), BUSY_MS);
    const before = byId("corrections").asrHtml;
    put(byId("corrections"), look.summary);
    if (look.summary !== before) count();
  };

  const takeSpeakers = (look) => {
    if (!byId("speakers").querySelector("input")) put(byId("speakers"), look.speakers);
    for (const label of document.querySelectorAll("#transcript .speaker")) {
      const name = look.names[label.dataset.speaker];
      if (name !== undefined && label.textContent !== name) [label.textContent, label.title] = [name, name];
    }
  };

  const takeLegend = (html) => { // a word of a line that somebody found right is no longer in doubt
    const legend = document.querySelector(".unsure-legend");
    if (!legend) return;
    legend.hidden = !html;
    if (!html) return;
    const fresh = made(html), on = byId("show-unsure").checked;
    if (legend.textContent === fresh.textContent) return;
    legend.querySelector("u").textContent = fresh.querySelector("u").textContent; // the switch keeps its focus
    byId("show-unsure").checked = on;
  };

  const count = async () => {
    const of = ++counting;
    const look = await ask("tally", {});
    if (look && of === counting) put(byId("tally"), look.tally);
  };

  const made = (html) => {
    const box = document.createElement("div");
    box.innerHTML = html;
    return box.firstElementChild;
  };

  const renew = (line, html, saved) => {
    const fresh = made(html);
    if (line.classList.contains("editing") && !saved) {
      line.dataset.n = fresh.dataset.n; // the next try to save knows what it replaces
      line.asrLater = fresh;
      return;
    }
    const focused = line.contains(document.activeElement);
    fresh.classList.toggle("current", line.classList.contains("current"));
    line.replaceWith(fresh);
    if (focused) fresh.querySelector(".said").focus();
  };

  // -- the editor --------------------------------------------------------------------------------------------------
  const edit = (line, at = null) => {
    if (!editor || line.classList.contains("editing")) return;
    line.querySelector(".menu")?.remove();
    line.classList.add("editing");
    line.querySelector(".said").after(made(editor));
    const field = line.querySelector("textarea");
    field.value = line.querySelector(".words").textContent;
    fit(field);
    field.focus();
    const end = at ?? field.value.length;
    field.setSelectionRange(end, end);
  };

  const fit = (field) => {
    field.style.height = "auto";
    field.style.height = `${field.scrollHeight + 2}px`;
  };

  const leave = (line) => {
    const field = line.querySelector(".edit");
    line.classList.remove("editing");
    field.remove();
    if (line.asrLater) {
      const later = line.asrLater;
      line.replaceWith(later);
      line = later;
    }
    line.querySelector(".said").focus();
  };

  const save = async (line) => {
    const field = line.querySelector("textarea");
    const text = field.value.trim();
    if (text === line.querySelector(".words").textContent.trim() && !line.asrLater) return leave(line);
    const look = await send("correct", { line: numberOf(line), seen: seen(line), text }, line);
    if (!look) return; // the page says that the server does not answer; the text stays in the field
    if (look.refused) tellIn(line, look.refused);
    else if (line.isConnected) leave(line); // the server had that text already
  };

  const tellIn = (line, html) => {
    const place = line.querySelector(".said-elsewhere");
    place.innerHTML = html;
    place.hidden = false;
  };

  // -- what may be done with a line ----------------------------------------------------------------------------------
  const open = async (line) => {
    const more = line.querySelector(".more"), menu = line.querySelector(".menu");
    more.setAttribute("aria-expanded", !menu);
    if (menu) return menu.remove();
    const look = await send("menu", { line: numberOf(line) });
    if (!look?.menu || !line.isConnected || line.querySelector(".menu")) return;
    line.append(made(look.menu));
    line.querySelector(".menu :is(button, select)")?.focus();
  };

  const close = (line) => {
    line.querySelector(".menu").remove();
    line.querySelector(".more").setAttribute("aria-expanded", false);
    line.querySelector(".more").focus();
  };

  const act = async (line, action) => {
    const arm = line.querySelector(".menu select")?.value || "";
    if (action !== "cancel") close(line);
    await change(action, { line: numberOf(line), seen: seen(line), arm });
  };

  const change = async (action, more) => {
    const look = await send(action, more);
    if (look?.refused) byId("corrections").querySelector("[role=status]").innerHTML = look.refused;
  };

  const confirm = (line) => {
    const pressed = line.querySelector(".right").getAttribute("aria-pressed") === "true";
    change(pressed ? "undo" : "confirm", { line: numberOf(line), seen: seen(line) });
  };

  const undo = (button) => change("undo", { line: Number(button.dataset.line), seen: Number(button.dataset.n) });

  // -- names of speakers -------------------------------------------------------------------------------------------
  const rename = (chip) => {
    const field = document.createElement("input");
    [field.value, field.placeholder, field.maxLength] = [chip.dataset.name, chip.dataset.speaker, 60];
    field.setAttribute("aria-label", chip.title);
    chip.hidden = true;
    chip.after(field);
    field.focus();
    field.select();
  };

  const named = async (field, keep) => {
    const chip = field.previousElementSibling, text = field.value.trim(), { speaker, name, n } = chip.dataset;
    if (field.dataset.left) return; // its removal takes the focus from it
    field.dataset.left = "yes";
    const focused = field === document.activeElement;
    field.remove();
    chip.hidden = false;
    if (keep && text !== name) await change("rename", { speaker, seen: Number(n), text });
    if (focused) byId("speakers").querySelector(`[data-speaker="${speaker}"]`)?.focus();
  };

  // -- events --------------------------------------------------------------------------------------------------------
  const place = (event) => { // the letter that was clicked
    const words = event.target.closest(".words");
    const at = document.caretPositionFromPoint?.(event.clientX, event.clientY);
    const range = at ? null : document.caretRangeFromPoint?.(event.clientX, event.clientY);
    const [node, offset] = at ? [at.offsetNode, at.offset] : [range?.startContainer, range?.startOffset];
    if (!words || !node || !words.contains(node)) return null;
    const before = document.createRange();
    before.setStart(words, 0);
    before.setEnd(node, offset);
    return before.toString().length;
  };

  document.addEventListener("click", (event) => {
    const hit = (selector) => event.target.closest(selector);
    const line = hit("#transcript .segment:not(.waiting, .held)");
    if (hit("#undo")) undo(hit("#undo"));
    if (hit("#speakers .chip")) rename(hit("#speakers .chip"));
    if (!line) return;
    if (hit(".said")) {
      if (getSelection().isCollapsed) edit(line, place(event));
    } else if (hit(".save")) save(line);
    else if (hit(".leave")) leave(line);
    else if (hit(".right")) confirm(line);
    else if (hit(".more")) open(line);
    else if (hit(".act")) act(line, hit(".act").dataset.action);
  });

  document.addEventListener("keydown", (event) => {
    const line = event.target.closest?.("#transcript .segment:not(.waiting, .held)");
    if (event.target.matches?.("#speakers input") && !event.isComposing && event.keyCode !== 229) {
      if (event.key === "Enter") event.preventDefault();
      if (event.key === "Enter" || event.key === "Escape") named(event.target, event.key === "Enter");
    }
    const isUndo = event.key === "z" && (event.ctrlKey || event.metaKey) && !event.shiftKey;
    if (isUndo && byId("undo") && !event.target.closest("input, textarea, select")) {
      event.preventDefault();
      undo(byId("undo"));
    }
    if (!line || event.isComposing || event.keyCode === 229) return; // 229: an input method is at work
    const field = event.target.closest(".edit textarea");
    if (field && event.key === "Enter") {
      event.preventDefault();
      save(line);
    } else if (field && event.key === "Escape") leave(line);
    else if (event.key === "Escape" && line.querySelector(".menu")) close(line);
    else if (event.target.matches(".said")) {
      const step = { ArrowUp: -1, ArrowDown: 1 }[event.key];
      if (event.key === "Enter") {
        event.preventDefault();
        edit(line);
      } else if (step) {
        event.preventDefault();
        lines()[numberOf(line) + step]?.querySelector(".said").focus();
      }
    }
  });

  document.addEventListener("input", (event) => {
    if (event.target.matches(".edit textarea")) fit(event.target);
  });

  document.addEventListener("focusout", (event) => {
    if (event.target.matches?.("#speakers input")) named(event.target, true);
  });

  // Another window may have changed lines meanwhile.
  window.addEventListener("focus", () => { if (job && lines().length) send("look"); });

  document.addEventListener("asr-shown", (event) => {
    clearTimeout(timer);
    if (job !== event.detail.job || language !== event.detail.language || !event.detail.job) {
      for (const id of ["corrections", "tally", "speakers"]) put(byId(id), "");
    }
    ({ job, language } = event.detail);
    if (job) send("look");
  });

  return {};
})();
