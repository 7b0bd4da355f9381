// What a page adds with a script: values and larger pictures on hover, on touch and by arrow keys,
// parts of curves enlarged, tables sorted. Without it the page is complete.
(() => {
  const svg = document.createElement("template");
  svg.innerHTML = "<svg></svg>";
  const SVG = svg.content.firstChild.namespaceURI;
  document.documentElement.classList.add("js");
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
  const numbers = (text) => text.split(" ").map(Number);
  const clamp = (value, low, high) => Math.max(low, Math.min(value, high));
  const drawn = (tag, attributes, parent) => {
    const made = document.createElementNS(SVG, tag);
    for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
    parent.append(made);
    return made;
  };

  // One box says what is pointed at: a text, above it perhaps a larger picture.
  const tip = document.createElement("div");
  tip.className = "tip";
  tip.setAttribute("role", "status");
  document.body.append(tip);
  let shown = null;
  const hide = () => {
    if (shown) { shown.classList.remove("at"); shown.leave?.(); }
    shown = null;
    tip.replaceChildren();
    tip.classList.remove("pictured");
  };
  const place = () => {
    if (!shown) return;
    const at = shown.getBoundingClientRect();
    const left = at.left + at.width / 2 - tip.offsetWidth / 2;
    const above = at.top - tip.offsetHeight - 8;
    tip.style.left = clamp(left, 8, Math.max(8, innerWidth - tip.offsetWidth - 8)) + "px";
    tip.style.top = (above < 8 ? at.bottom + 8 : above) + "px";
  };
  const show = (mark, text, picture) => {
    if (shown !== mark) hide();
    shown = mark;
    mark.classList.add("at");
    tip.replaceChildren(...(picture ? [picture] : []), text);
    tip.classList.toggle("pictured", Boolean(picture));
    place();
  };
  addEventListener("keydown", (event) => { if (event.key === "Escape") hide(); });
  addEventListener("scroll", place, { passive: true, capture: true });
  addEventListener("pointerdown", (event) => {
    if (!event.target.closest("svg.plot, .map, img, [data-tip], .confusion")) hide();
  });
  const near = (key, now, count) => {
    const next = {
      ArrowRight: now + 1, ArrowDown: now + 1, ArrowLeft: now - 1, ArrowUp: now - 1,
      Home: 0, End: count - 1,
    }[key];
    return next === undefined ? undefined : clamp(next, 0, count - 1);
  };
  // Items of a place that has the focus, one after the other by arrow keys.
  const walk = (stop, items, say) => {
    stop.addEventListener("blur", hide);
    stop.addEventListener("focus", () => { if (stop.matches(":focus-visible") && items.length) say(items[0]); });
    stop.addEventListener("keydown", (event) => {
      const next = event.target === stop ? near(event.key, items.indexOf(shown), items.length) : undefined;
      if (next === undefined) return;
      event.preventDefault();
      say(items[next]);
    });
  };

  // Marks of a plot, each with a text of its own.
  const marks = (plot) => {
    const found = [];
    for (const own of all("title", plot)) {
      own.parentNode.dataset.tip = own.textContent;
      found.push(own.parentNode);
      own.remove();
    }
    if (!found.length) { if (!plot.dataset.frame) plot.removeAttribute("tabindex"); return; }
    const say = (mark) => show(mark, mark.dataset.tip);
    plot.addEventListener("pointerover", (event) => {
      const mark = event.target.closest("[data-tip]");
      if (mark) say(mark); else hide();
    });
    plot.addEventListener("pointerleave", hide);
    walk(plot, found, say);
  };

  // Curves: the values of all at the nearest place; a part of them enlarged by dragging.
  const ticks = (low, high) => {
    const step = (() => {
      const power = 10 ** Math.floor(Math.log10((high - low) / 5));
      return [1, 2, 2.5, 5, 10].map((one) => one * power).find((one) => (high - low) / one <= 6);
    })();
    const found = [];
    for (let n = Math.ceil(low / step); n * step <= high; n += 1) found.push(+(n * step).toPrecision(10));
    return found;
  };
  const curves = (plot) => {
    const [left, top, right, bottom] = numbers(plot.dataset.frame);
    const whole = numbers(plot.dataset.range), frame = plot.querySelector(".frame");
    const lines = all("[data-points]", plot).map((path) => ({
      name: path.dataset.name, color: path.getAttribute("stroke"),
      points: path.dataset.points.split(" ").filter(Boolean).map((one) => one.split(",").map(Number)),
    }));
    const xs = [...new Set(lines.flatMap((line) => line.points.map((point) => point[0])))].sort((a, b) => a - b);
    if (!xs.length) return;
    let range = whole, from = null, at = -1;
    const above = drawn("g", { class: "above" }, plot);
    const cross = drawn("path", { class: "cross" }, above);
    const dots = lines.map((line) => drawn("circle", { r: 3.4, fill: line.color, visibility: "hidden" }, above));
    const chosen = drawn("rect", { class: "chosen", y: top, height: bottom - top, width: 0, visibility: "hidden" }, above);
    const axes = drawn("g", {}, plot);
    const back = document.createElement("button");
    back.type = "button"; back.className = "back"; back.textContent = "whole curve"; back.hidden = true;
    plot.after(back);
    const px = (x) => left + (x - range[0]) / (range[1] - range[0]) * (right - left);
    const py = (y) => bottom - (y - range[2]) / (range[3] - range[2]) * (bottom - top);
    const seen = () => xs.filter((x) => x >= range[0] && x <= range[1]);
    cross.leave = () => {
      cross.removeAttribute("d");
      for (const dot of dots) dot.setAttribute("visibility", "hidden");
    };
    const say = (x) => {
      const reach = 0.02 * (range[1] - range[0]);
      const said = [];
      lines.forEach((line, n) => {
        const point = line.points.reduce((one, other) => Math.abs(other[0] - x) < Math.abs(one[0] - x) ? other : one);
        const has = Math.abs(point[0] - x) <= reach && point[1] >= range[2] && point[1] <= range[3];
        dots[n].setAttribute("visibility", has ? "visible" : "hidden");
        if (Math.abs(point[0] - x) > reach) return;
        dots[n].setAttribute("cx", px(point[0]));
        dots[n].setAttribute("cy", py(point[1]));
        said.push(`${line.name}: ${point[1]}${point.length > 2 ? ` (${point[2]} to ${point[3]})` : ""}`);
      });
      at = x;
      cross.setAttribute("d", `M${px(x)} ${top}V${bottom}`);
      show(cross, [`${plot.dataset.unit} ${x}`.trim(), ...said].join("\n"));
    };
    const value = (event) => {
      const box = plot.getBoundingClientRect();
      const unit = (event.clientX - box.left) / box.width * plot.viewBox.baseVal.width;
      return range[0] + (clamp(unit, left, right) - left) / (right - left) * (range[1] - range[0]);
    };
    const enlarge = (next) => {
      hide();
      range = next;
      const is_whole = next === whole;
      back.hidden = is_whole;
      plot.classList.toggle("enlarged", !is_whole);
      const x = (v) => left + (v - whole[0]) / (whole[1] - whole[0]) * (right - left);
      const y = (v) => bottom - (v - whole[2]) / (whole[3] - whole[2]) * (bottom - top);
      frame.setAttribute("viewBox", [x(range[0]), y(range[3]), x(range[1]) - x(range[0]), y(range[2]) - y(range[3])].join(" "));
      axes.replaceChildren();
      if (is_whole) return;
      for (const one of ticks(range[0], range[1])) {
        drawn("text", { class: "tick", x: px(one), y: bottom + 14, "text-anchor": "middle" }, axes).textContent = one;
      }
      for (const one of ticks(range[2], range[3])) {
        drawn("path", { class: "grid", d: `M${left} ${py(one)}H${right}` }, axes);
        drawn("text", { class: "tick", x: left - 6, y: py(one) + 4, "text-anchor": "end" }, axes).textContent = one;
      }
      plot.insertBefore(axes, frame);
    };
    const part = (low, high) => {
      const inside = lines.flatMap((line) => line.points.filter(([x]) => x >= low && x <= high).map((point) => point[1]));
      if (new Set(lines.flatMap((line) => line.points.filter(([x]) => x >= low && x <= high).map(([x]) => x))).size < 2) return;
      const least = Math.min(...inside), most = Math.max(...inside), room = 0.06 * (most - least) || 0.5;
      enlarge([low, high, least - room, most + room]);
    };
    back.addEventListener("click", () => { enlarge(whole); plot.focus({ preventScroll: true }); });
    plot.addEventListener("dblclick", () => enlarge(whole));
    plot.addEventListener("pointerdown", (event) => {
      if (event.pointerType !== "mouse" || event.button) return;
      from = value(event);
      plot.setPointerCapture(event.pointerId);
      event.preventDefault();
    });
    plot.addEventListener("pointermove", (event) => {
      const x = value(event);
      if (from !== null) {
        chosen.setAttribute("visibility", "visible");
        chosen.setAttribute("x", Math.min(px(from), px(x)));
        chosen.setAttribute("width", Math.abs(px(x) - px(from)));
        return;
      }
      const there = seen();
      if (there.length) say(there.reduce((one, other) => Math.abs(other - x) < Math.abs(one - x) ? other : one));
    });
    plot.addEventListener("pointerup", (event) => {
      if (from === null) return;
      const ends = [from, value(event)].sort((a, b) => a - b);
      from = null;
      chosen.setAttribute("visibility", "hidden");
      if (px(ends[1]) - px(ends[0]) > 8) part(...ends);
    });
    plot.addEventListener("pointercancel", () => { from = null; chosen.setAttribute("visibility", "hidden"); });
    plot.addEventListener("pointerleave", () => { if (from === null) hide(); });
    plot.addEventListener("blur", hide);
    plot.addEventListener("focus", () => { if (plot.matches(":focus-visible") && seen().length) say(seen()[0]); });
    plot.addEventListener("keydown", (event) => {
      const there = seen(), next = near(event.key, shown === cross ? there.indexOf(at) : -1, there.length);
      if (next !== undefined && there.length) say(there[next]);
      else if (event.key === "+" && at >= 0) part(at - (range[1] - range[0]) / 4, at + (range[1] - range[0]) / 4);
      else if (event.key === "-" || event.key === "Escape") { if (range !== whole) enlarge(whole); return; }
      else return;
      event.preventDefault();
    });
  };

  for (const plot of all("svg.plot")) {
    // The browser's own tooltips come late and cover ours; the texts stay for screen readers.
    const title = plot.querySelector(":scope > title"), more = plot.querySelector(":scope > desc");
    if (title) {
      plot.setAttribute("aria-label", title.textContent);
      title.remove();
    }
    if (more) plot.setAttribute("aria-description", more.textContent);
    marks(plot);
    if (plot.dataset.frame) curves(plot);
  }

  // Pictures: a larger copy.
  const larger = (source) => {
    const copy = document.createElement("img");
    copy.alt = "";
    copy.src = source.src;
    // Few pixels are shown as they are.
    if (source.naturalWidth <= 40) copy.className = "pixels";
    return copy;
  };
  const words = new Map();
  const enlarged = (image) => show(image, words.get(image), larger(image));
  for (const image of all("main img")) {
    words.set(image, image.title && image.title !== image.alt ? `${image.title}\n${image.alt}` : image.alt);
    image.removeAttribute("title");
    image.addEventListener("pointerover", () => enlarged(image));
    image.addEventListener("pointerleave", hide);
    image.addEventListener("click", () => enlarged(image));
  }
  for (const strip of all(".queries, .views, .hardpairs, .mistakes, .disputed, .strip.pairs, .pictures")) {
    const images = all("img", strip);
    if (!images.length) continue;
    strip.tabIndex = 0;
    strip.setAttribute("role", "group");
    strip.setAttribute("aria-label", `${images.length} pictures, one by one with the arrow keys`);
    walk(strip, images, enlarged);
  }

  // Maps: the name of the nearest image; classes one by one.
  const maps = all(".map");
  const unpacked = (text) => {
    if (!text) return [];
    const [start, ...rest] = text.split("\n");
    return rest.map((one) => start + one);
  };
  const first = unpacked(maps[0]?.dataset.keys);
  for (const map of maps) {
    const svg = map.querySelector("svg"), own = unpacked(map.dataset.keys), points = [];
    const keys = own.length ? own : first;
    for (const path of all(".shape", svg)) {
      for (const found of path.getAttribute("d").matchAll(/M([\d.]+) ([\d.]+)/g)) {
        points.push({ x: +found[1], y: +found[2], name: path.dataset.name, key: keys[points.length] });
      }
    }
    const thumbs = new Map(all("i", map).map((one) => [+one.dataset.point, one]));
    for (const one of thumbs.values()) one.removeAttribute("title");
    const ring = drawn("circle", { r: 1.6, class: "ring", visibility: "hidden" }, svg);
    ring.leave = () => ring.setAttribute("visibility", "hidden");
    const say = (number) => {
      const point = points[number], thumb = thumbs.get(number);
      ring.setAttribute("cx", point.x);
      ring.setAttribute("cy", point.y);
      ring.setAttribute("visibility", "visible");
      ring.number = number;
      let copy = null;
      if (thumb && thumb.offsetWidth) {
        copy = document.createElement("span");
        copy.className = "crop";
        const look = getComputedStyle(thumb);
        for (const name of ["backgroundImage", "backgroundSize", "backgroundPosition"]) copy.style[name] = look[name];
      }
      show(ring, [point.key, point.name].filter(Boolean).join("\n"), copy);
    };
    map.addEventListener("pointermove", (event) => {
      if (event.target.dataset.point) { say(+event.target.dataset.point); return; }
      const box = map.getBoundingClientRect();
      const x = (event.clientX - box.left) / box.width * 100, y = (event.clientY - box.top) / box.height * 100;
      let best = -1, least = 9;
      points.forEach((point, number) => {
        const far = (point.x - x) ** 2 + (point.y - y) ** 2;
        if (far < least) { least = far; best = number; }
      });
      if (best < 0) hide(); else say(best);
    });
    map.addEventListener("pointerleave", hide);
    svg.setAttribute("tabindex", 0);
    svg.addEventListener("blur", hide);
    svg.addEventListener("focus", () => { if (svg.matches(":focus-visible") && points.length) say(0); });
    svg.addEventListener("keydown", (event) => {
      const way = { ArrowRight: [1, 0], ArrowLeft: [-1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
      if (!way || !points.length) return;
      event.preventDefault();
      const now = points[ring.number ?? 0];
      let best = -1, least = Infinity;
      points.forEach((point, number) => {
        const dx = point.x - now.x, dy = point.y - now.y;
        const along = dx * way[0] + dy * way[1], across = Math.abs(dx * way[1] + dy * way[0]);
        if (along > 0 && along >= across && along + across < least) { least = along + across; best = number; }
      });
      if (best >= 0) say(best);
    });
  }
  for (const chip of all(".legend [data-class]")) {
    const only = (label) => {
      for (const one of all(".map [data-class]")) one.classList.toggle("faint", label !== null && one.dataset.class !== label);
    };
    chip.tabIndex = 0;
    for (const kind of ["pointerenter", "focus"]) chip.addEventListener(kind, () => only(chip.dataset.class));
    for (const kind of ["pointerleave", "blur"]) chip.addEventListener(kind, () => only(null));
  }

  // Tables: sorted by a column; the confusion matrix in the order of its classes.
  const number = (cell) => {
    const text = cell.firstChild?.textContent.replaceAll(",", "") ?? "";
    return text === "-" || text === "" ? -Infinity : Number(text);
  };
  for (const table of all("table.sortable")) {
    const body = table.tBodies[0];
    const heads = all("thead th", table);
    heads.forEach((head, column) => {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...head.childNodes);
      head.append(button);
      button.addEventListener("click", () => {
        const is_number = head.classList.contains("number");
        const down = head.ariaSort ? head.ariaSort === "ascending" : is_number;
        for (const one of heads) one.removeAttribute("aria-sort");
        head.setAttribute("aria-sort", down ? "descending" : "ascending");
        const rows = [...body.rows].sort((one, other) => {
          const [a, b] = [one.cells[column], other.cells[column]];
          return is_number ? number(a) - number(b) : a.textContent.localeCompare(b.textContent, undefined, { numeric: true });
        });
        body.append(...(down ? rows.reverse() : rows));
      });
    });
  }
  for (const box of all(".confusing")) {
    const table = box.querySelector("table"), order = numbers(table.dataset.order), head = table.tHead.rows[0];
    const say = (cell) => {
      const row = cell.parentNode, column = head.cells[cell.cellIndex].textContent, name = row.cells[0].textContent;
      const [share, count] = [cell.querySelector("b")?.textContent ?? "0", cell.querySelector("i")?.textContent ?? "0"];
      const said = cell.classList.contains("hit") ? `${name}, recognised` : `${name}, taken for ${column}`;
      show(cell, `${said}\n${share} %: ${count} of ${row.cells[row.cells.length - 1].textContent} images`);
    };
    table.addEventListener("pointerover", (event) => {
      const cell = event.target.closest("td:not(.number)");
      if (cell) say(cell); else hide();
    });
    table.addEventListener("pointerleave", hide);
    const stop = table.parentNode;
    stop.dataset.stop = "";
    stop.setAttribute("role", "group");
    stop.setAttribute("aria-label", "Cells one by one with the arrow keys");
    stop.addEventListener("blur", hide);
    stop.addEventListener("keydown", (event) => {
      const cells = all("td:not(.number)", table), now = cells.indexOf(shown), width = order.length;
      const move = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: width, ArrowUp: -width }[event.key];
      if (move === undefined) return;
      event.preventDefault();
      const next = cells[now < 0 ? 0 : clamp(now + move, 0, cells.length - 1)];
      next.scrollIntoView({ block: "nearest", inline: "nearest" });
      say(next);
    });
    const places = order.map((_, place) => place);
    const sorted = [...places].sort((a, b) => order[a] - order[b]);
    const cells = [...table.rows].map((row) => [...row.cells]), rows = [...table.tBodies[0].rows];
    box.querySelector(".by-class")?.addEventListener("change", (event) => {
      hide();
      const now = event.target.checked ? sorted : places;
      [...[head], ...rows].forEach((row, n) => row.append(cells[n][0], ...now.map((place) => cells[n][place + 1]), cells[n].at(-1)));
      table.tBodies[0].append(...now.map((place) => rows[place]), ...rows.slice(order.length));
    });
  }

  // Only a table that is wider than its place has to be reached by the tab key.
  const fit = () => {
    for (const one of all(".scroll")) {
      one.tabIndex = "stop" in one.dataset || one.scrollWidth > one.clientWidth ? 0 : -1;
    }
  };
  fit();
  addEventListener("resize", fit);
  addEventListener("toggle", fit, { capture: true });
  let opened = [];
  addEventListener("beforeprint", () => {
    opened = all("details:not([open])");
    for (const one of opened) one.open = true;
  });
  addEventListener("afterprint", () => { for (const one of opened) one.open = false; });
})();
