"use strict";
// Light and dark: what the system asks for, until the toggle is used. Paper is light.
window.thetascope = {};
(() => {
  const report = window.thetascope;
  const asked = matchMedia("(prefers-color-scheme: dark)");
  const listeners = [];
  let chosen = null;
  let printing = false;

  report.isDark = () => !printing && (chosen === null ? asked.matches : chosen === "dark");
  report.onTheme = (listener) => listeners.push(listener);
  report.mark = () => (report.isDark() ? "#ff9d66" : "#c2410c");

  const tell = () => {
    if (chosen !== null) document.documentElement.dataset.theme = chosen;
    document.getElementById("theme").setAttribute("aria-pressed", String(report.isDark()));
    for (const listener of listeners) listener();
  };
  report.printing = (value) => {
    printing = value;
    for (const listener of listeners) listener();
  };
  document.getElementById("theme").addEventListener("click", () => {
    chosen = report.isDark() ? "light" : "dark";
    tell();
  });
  asked.addEventListener("change", tell);
  document.getElementById("theme").setAttribute("aria-pressed", String(report.isDark()));

  // What plotly takes wherever a picture says nothing itself.
  report.template = (dark = report.isDark()) => {
    const ink = dark ? "#d3dae1" : "#33404d";
    const grid = dark ? "#2b343e" : "#e7ebef";
    const line = dark ? "#4a5663" : "#c4ccd4";
    const axis = { gridcolor: grid, linecolor: line, zerolinecolor: line, zerolinewidth: 1, tickcolor: line, automargin: true, title: { standoff: 10 } };
    const deep = { gridcolor: line, linecolor: line, zerolinecolor: line, color: ink, showbackground: false, title: { font: { size: 11 } }, tickfont: { size: 10 } };
    return {
      layout: {
        font: { family: 'system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif', size: 12.5, color: ink },
        paper_bgcolor: "rgba(0,0,0,0)",
        plot_bgcolor: "rgba(0,0,0,0)",
        xaxis: axis,
        yaxis: axis,
        scene: { xaxis: deep, yaxis: deep, zaxis: deep },
        legend: { bgcolor: "rgba(0,0,0,0)", font: { size: 12 } },
        hoverlabel: { bgcolor: dark ? "#1c232b" : "#ffffff", bordercolor: line, font: { color: dark ? "#e6eaee" : "#1d2733" }, namelength: -1 },
        annotationdefaults: { font: { color: ink } },
        coloraxis: { colorbar: { outlinewidth: 0 } },
      },
      data: {
        bar: [{ marker: { pattern: { fillmode: "overlay", size: 10, solidity: 0.2 } } }],
        heatmap: [{ colorbar: { outlinewidth: 0, thickness: 14 } }],
        surface: [{ colorbar: { outlinewidth: 0, thickness: 14 } }],
      },
    };
  };
})();
