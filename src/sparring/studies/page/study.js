// Values of marks in plots: on hover, on touch, and by arrow keys while a plot has the focus. Details open on paper.
(() => {
  const tip = document.createElement("div");
  tip.className = "tip";
  tip.setAttribute("role", "status");
  document.body.append(tip);
  let shown = null;
  const hide = () => {
    if (shown) shown.classList.remove("at");
    shown = null;
    tip.textContent = "";
  };
  const place = () => {
    if (!shown) return;
    const at = shown.getBoundingClientRect();
    const left = at.left + at.width / 2 - tip.offsetWidth / 2;
    const above = at.top - tip.offsetHeight - 8;
    tip.style.left = Math.max(8, Math.min(left, innerWidth - tip.offsetWidth - 8)) + "px";
    tip.style.top = (above < 8 ? at.bottom + 8 : above) + "px";
  };
  const show = (mark) => {
    hide();
    shown = mark;
    mark.classList.add("at");
    tip.textContent = mark.dataset.tip;
    place();
  };
  for (const plot of document.querySelectorAll("svg.plot")) {
    // The browser's own tooltips come late and cover ours; the texts stay for screen readers.
    const title = plot.querySelector(":scope > title");
    plot.setAttribute("aria-label", title.textContent);
    title.remove();
    const marks = [];
    for (const own of plot.querySelectorAll("title")) {
      own.parentNode.dataset.tip = own.textContent;
      marks.push(own.parentNode);
      own.remove();
    }
    if (!marks.length) { plot.removeAttribute("tabindex"); continue; }
    plot.addEventListener("pointerover", (event) => {
      const mark = event.target.closest("[data-tip]");
      if (mark) show(mark); else hide();
    });
    plot.addEventListener("pointerleave", hide);
    plot.addEventListener("blur", hide);
    plot.addEventListener("focus", () => { if (plot.matches(":focus-visible")) show(marks[0]); });
    plot.addEventListener("keydown", (event) => {
      const now = marks.indexOf(shown);
      const next = {
        ArrowRight: now + 1, ArrowDown: now + 1, ArrowLeft: now - 1, ArrowUp: now - 1,
        Home: 0, End: marks.length - 1,
      }[event.key];
      if (next === undefined) return;
      event.preventDefault();
      show(marks[Math.max(0, Math.min(next, marks.length - 1))]);
    });
  }
  addEventListener("keydown", (event) => { if (event.key === "Escape") hide(); });
  addEventListener("scroll", place, { passive: true, capture: true });
  let opened = [];
  addEventListener("beforeprint", () => {
    opened = [...document.querySelectorAll("details:not([open])")];
    for (const one of opened) one.open = true;
  });
  addEventListener("afterprint", () => { for (const one of opened) one.open = false; });
})();
