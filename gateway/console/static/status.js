// Refreshes the page's content every 3 seconds, until the person pauses it. Without script the page still works.
"use strict";
const button = document.getElementById("live");
let paused = false;
button.hidden = false;
button.addEventListener("click", () => {
  paused = !paused;
  button.textContent = paused ? button.dataset.paused : button.dataset.live;
});
function verdict() {
  return document.querySelector("#verdict strong").textContent;
}
async function refresh() {
  const main = document.querySelector("main");
  // Never take the ground from under a keyboard: wait while something inside has the focus.
  if (paused || document.hidden || main.contains(document.activeElement)) return;
  try {
    const answer = await fetch(location.href, { headers: { Accept: "text/html" } });
    if (!answer.ok) return;
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    const said = verdict();
    const scrolled = [...main.querySelectorAll(".scroll")].map((box) => [box.getAttribute("aria-labelledby"), box.scrollLeft]);
    main.replaceChildren(...page.querySelector("main").childNodes);
    for (const [name, left] of scrolled) {
      const box = main.querySelector(`.scroll[aria-labelledby="${CSS.escape(name)}"]`);
      if (box) box.scrollLeft = left;
    }
    // Told to those who do not see it, once, when it changes.
    if (verdict() !== said) document.getElementById("said").textContent = verdict();
  } catch { /* the gateway is away: the next round asks again */ }
}
setInterval(refresh, 3000);
