// Choices in the address. The server reads them (ui/links.py) while the page loads; then they leave the address, or a
// reload would undo what was chosen since. The theme is Gradio's own parameter, and stays.
window.asrLink = (() => {
  const NAMES = ["model", "lite", "precision", "language", "lang", "tab", "theme"];
  const { copy } = window.asr;

  const rewrite = (change) => {
    const here = new URL(location.href);
    change(here.searchParams);
    if (here.href !== location.href) history.replaceState(history.state, "", here);
  };

  rewrite((query) => {
    const theme = query.get("theme");
    if (theme === "dark" || theme === "light") {
      query.delete("theme");
      query.set("__theme", theme);
      document.body.classList.toggle("dark", theme === "dark"); // Gradio has looked before this script ran
    }
  });

  const clean = () => rewrite((query) => NAMES.forEach((name) => query.delete(name)));
  document.addEventListener("asr-started", clean, { once: true });

  // A model in a folder of the server's has its path as a name, which is not for others.
  return ({ model, lite, precision, language, label }) => {
    const link = new URL(location.pathname, location.href);
    if (!/[\\/]/.test(model)) link.searchParams.set("model", model);
    link.searchParams.set("lite", lite ? "1" : "0");
    if (precision !== "auto") link.searchParams.set("precision", precision);
    if (language && language !== "auto") link.searchParams.set("language", language);
    link.searchParams.set("lang", label === "中文" ? "zh" : "en");
    copy(link.href, document.getElementById("copy-link"));
  };
})();
