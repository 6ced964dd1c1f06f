"use strict";
// A picture as PNG or SVG as it is shown now, on white; the table behind it as CSV.
(() => {
  const report = window.thetascope;

  const save = (blob, name) => {
    const url = URL.createObjectURL(blob);
    const link = Object.assign(document.createElement("a"), { href: url, download: name });
    document.body.append(link);
    link.click();
    link.remove();
    setTimeout(() => URL.revokeObjectURL(url), 10000);
  };

  const bytesOf = (base64) => Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
  const unpacked = (base64) => new Response(new Blob([bytesOf(base64)]).stream().pipeThrough(new DecompressionStream("gzip"))).blob();

  const quoted = (value) => (/[",\n]/.test(String(value)) ? `"${String(value).replaceAll('"', '""')}"` : String(value ?? ""));

  // Where the table behind a picture is too large for the page: the points that the picture shows.
  const pointsOf = (picture) => {
    const rows = [["curve", "x", "y", "z"]];
    for (const trace of picture.plot._fullData) {
      if (!trace.x?.length || !trace.y?.length || trace.z?.[0]?.length !== undefined || trace.meta === "α") continue;
      for (let i = 0; i < trace.x.length; i += 1) rows.push([report.plain(trace.name), trace.x[i], trace.y[i], trace.z?.[i]]);
    }
    return new Blob([rows.map((row) => row.map(quoted).join(",")).join("\n"), "\n"], { type: "text/csv" });
  };

  const image = async (picture, format) => {
    const { data, layout } = picture.plot;
    const { width, height } = picture.plot._fullLayout;
    const title = { text: picture.element.querySelector("figcaption strong").textContent.replaceAll("&", "&amp;").replaceAll("<", "&lt;"), x: 0.02, font: { size: 15 } };
    const margin = { ...layout.margin, t: (layout.margin?.t ?? 30) + 36 };
    const traces = structuredClone(data);
    picture.ink(traces, false);
    const shapes = (layout.shapes ?? []).filter((shape) => shape.name !== "α");
    const light = { ...layout, shapes, title, margin, template: report.template(false), paper_bgcolor: "white", plot_bgcolor: "white" };
    const url = await Plotly.toImage({ data: traces.filter((trace) => trace.meta !== "α"), layout: structuredClone(light) }, { format, width, height: height + 36, scale: 2 });
    const [head, body] = [url.slice(0, url.indexOf(",")), url.slice(url.indexOf(",") + 1)];
    const content = head.endsWith(";base64") ? bytesOf(body) : decodeURIComponent(body);
    return new Blob([content], { type: format === "png" ? "image/png" : "image/svg+xml" });
  };

  report.startDownloads = () => {
    document.addEventListener("click", async (event) => {
      const pressed = event.target.closest("button[data-format]");
      if (!pressed) return;
      const figure = pressed.closest("figure");
      const format = pressed.dataset.format;
      const picture = report.pictures.get(figure.dataset.name);
      const table = figure.querySelector("script.csv");
      if (picture) await picture.draw();
      if (format !== "csv") save(await image(picture, format), `${figure.dataset.name}.${format}`);
      else if (table) save(await unpacked(table.textContent), `${figure.dataset.name}.csv`);
      else if (picture) save(pointsOf(picture), `${figure.dataset.name}.csv`);
      document.getElementById("announce").textContent = `${figure.dataset.name}.${format} was downloaded`;
    });
  };
})();
