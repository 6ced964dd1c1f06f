"use strict";
// What a picture changes on a narrow screen: panels below one another, the legend below them, titles in lines.
(() => {
  const report = window.thetascope;
  const PANEL = 200;
  const BETWEEN = 86;
  const ENTRY = 21;
  const MOST_ENTRIES = 8;
  const LINE = 40;

  const inLines = (text, length) =>
    text.split(" ").reduce((lines, word) => {
      const last = lines.at(-1);
      if (last && last.length + word.length < length) lines[lines.length - 1] = `${last} ${word}`;
      else lines.push(word);
      return lines;
    }, []).join("<br>");

  const axesOf = (layout, letter) => Object.keys(layout).filter((key) => new RegExp(`^${letter}axis\\d*$`).test(key));

  const withTitles = (layout, changed) => {
    for (const key of [...axesOf(layout, "x"), ...axesOf(layout, "y")]) {
      const axis = changed[key] ?? layout[key];
      const text = axis.title?.text ?? "";
      if (text.length <= LINE / 2) continue;
      const short = key.startsWith("x") ? inLines(text, LINE) : text.includes("<br>") ? text.split(" (")[0] : text;
      changed[key] = { ...axis, title: { ...axis.title, text: short } };
    }
  };

  // Panels side by side, in one row or in a grid, if there are, with their new places and the height that they need in all.
  const withPanels = (layout, changed) => {
    const isGrid = layout.meta?.panels === "grid";
    const upright = (key) => layout[key.replace("x", "y")].domain;
    const columns = axesOf(layout, "x").filter((key) => layout[key].domain)
      .sort((a, b) => (isGrid && upright(b)[1] - upright(a)[1]) || layout[a].domain[0] - layout[b].domain[0]);
    const starts = new Set(columns.map((key) => layout[key].domain[0].toFixed(4)));
    if (starts.size < 2 || (starts.size < columns.length && !isGrid)) return null;
    const count = columns.length;
    const panel = isGrid ? PANEL : Math.max(PANEL, layout.height - 260);
    const inner = count * panel + (count - 1) * BETWEEN;
    const top = (i) => 1 - (i * (panel + BETWEEN)) / inner;
    columns.forEach((key, i) => {
      const other = key.replace("x", "y");
      changed[key] = { ...layout[key], domain: [0, 1] };
      changed[other] = { ...layout[other], domain: [Math.max(top(i) - panel / inner, 0), top(i)], showticklabels: true };
    });
    changed.annotations = (layout.annotations ?? []).map((note) => {
      const isAbove = (key) => !isGrid || Math.abs(note.y - upright(key)[1]) < 1e-6;
      const i = columns.findIndex((key) => note.x >= layout[key].domain[0] && note.x <= layout[key].domain[1] && isAbove(key));
      return i < 0 || note.xref !== "paper" ? note : { ...note, x: 0.5, y: top(i), text: note.name ? `${note.name}: ${note.text}` : note.text };
    });
    return inner;
  };

  report.narrowed = (layout, data) => {
    const listed = [...data.filter((trace) => trace.meta !== "α"), ...(layout.shapes ?? []).filter((shape) => shape.showlegend)];
    const names = new Set(listed.filter((one) => one.showlegend !== false).map((one) => one.legendgroup ?? one.name));
    const entries = names.size > MOST_ENTRIES || layout.showlegend === false ? 0 : names.size;
    const room = 24 + ENTRY * entries;
    const changed = {
      margin: { ...layout.margin, l: 8, r: 8 },
      showlegend: entries > 1,
      legend: { orientation: "h", x: 0, xanchor: "left", y: 0, yref: "container", yanchor: "bottom", font: { size: 11 } },
    };
    const inner = withPanels(layout, changed);
    changed.height = inner === null ? layout.height + ENTRY * entries : inner + 60 + 64 + room;
    withTitles(layout, changed);
    if (layout.scene) {
      const { eye } = layout.scene.camera;
      const far = { x: 1.2 * eye.x, y: 1.2 * eye.y, z: 1.2 * eye.z };
      const first = (key) => (key === "zaxis" ? "" : (layout.scene[key]?.title?.text ?? "").split(/ \(|, /)[0]); // the bar says what heights are
      const short = Object.fromEntries(["xaxis", "yaxis", "zaxis"].map((key) => [key, { ...layout.scene[key], title: { text: first(key) } }]));
      changed.scene = { ...layout.scene, ...short, camera: { ...layout.scene.camera, eye: far } };
    }
    return changed;
  };

  // Colour bars lie above the picture; what the menus would put there too.
  report.narrowBars = (picture) => {
    const lying = (bar) =>
      bar && { ...bar, orientation: "h", x: 0, xanchor: "left", y: 1.0, yanchor: "bottom", len: 1, thickness: 10, title: { ...bar.title, side: "top" } };
    for (const trace of picture.data) if (trace.colorbar) trace.colorbar = lying(trace.colorbar);
    for (const { buttons } of picture.menus) {
      for (const { args } of buttons) if (Array.isArray(args?.[0]?.colorbar)) args[0].colorbar = args[0].colorbar.map(lying);
    }
  };
})();
