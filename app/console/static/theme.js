// Which theme is shown: the system's, until the switch says otherwise. A classic script: it runs
// before the first paint.
(() => {
  const NAME = "polyhead.theme";
  const root = document.documentElement;
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const read = () => {
    try {
      return localStorage.getItem(NAME);
    } catch {
      return null; // storage may be forbidden
    }
  };
  const show = (chosen) => {
    if (chosen === "light" || chosen === "dark") root.dataset.theme = chosen;
    else delete root.dataset.theme;
    document.dispatchEvent(new Event("themechange"));
  };
  const now = () => root.dataset.theme ?? (dark.matches ? "dark" : "light");
  show(read());
  dark.addEventListener("change", () => document.dispatchEvent(new Event("themechange")));
  document.addEventListener("DOMContentLoaded", () => {
    const button = document.getElementById("theme");
    const name = () => {
      const other = now() === "dark" ? "Light" : "Dark";
      button.textContent = other;
      button.setAttribute("aria-label", `${other} theme`);
    };
    button.addEventListener("click", () => {
      const chosen = now() === "dark" ? "light" : "dark";
      try {
        localStorage.setItem(NAME, chosen);
      } catch {
        // Then it holds for this page alone.
      }
      show(chosen);
    });
    document.addEventListener("themechange", name);
    name();
  });
})();
