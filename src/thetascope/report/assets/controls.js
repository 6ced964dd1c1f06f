"use strict";
// What all pictures share: α on all paths, and the chosen layer.
(() => {
  const report = window.thetascope;
  const announce = (text) => (document.getElementById("announce").textContent = text);

  // --- α ---------------------------------------------------------------------------------------------------
  const slider = document.getElementById("alpha");
  const alpha = () => Number(slider.value);

  const isCurve = (trace) => (trace.type ?? "scatter") === "scatter" && (trace.mode ?? "").includes("lines") && trace.meta !== "α";

  // The height of a drawn curve at x: straight between its points, as it is drawn on its axis.
  const heightAt = (x, y, wanted, isLog) => {
    for (let i = 1; i < x.length; i += 1) {
      const [a, b] = [x[i - 1], x[i]];
      if ((wanted - a) * (wanted - b) > 0 || a === b) continue;
      const share = (wanted - a) / (b - a);
      const [low, high] = isLog ? [Math.log(y[i - 1]), Math.log(y[i])] : [y[i - 1], y[i]];
      const height = low + share * (high - low);
      return isLog ? Math.exp(height) : height;
    }
    return NaN;
  };

  const curvesOf = (picture) => {
    const full = picture.plot._fullData;
    const axes = new Map();
    full.forEach((trace) => {
      if (!isCurve(trace) || trace.visible !== true || !trace.x?.length) return;
      const key = `${trace.xaxis ?? "x"} ${trace.yaxis ?? "y"}`;
      if (!axes.has(key)) axes.set(key, []);
      axes.get(key).push(trace);
    });
    return axes;
  };

  // A panel is called by its axis, or by what stands above it.
  const panelName = (layout, yaxis, axis) => {
    const own = layout[yaxis.replace("y", "yaxis")]?.title?.text;
    const above = (layout.annotations ?? []).findLast((note) => note.y >= axis.domain[0] && note.x <= 1 && beside(layout, yaxis, note));
    return report.plain(own ?? above?.text ?? "");
  };
  const beside = (layout, yaxis, note) => {
    const [low, high] = layout[yaxis.replace("y", "xaxis")]?.domain ?? [0, 1];
    return note.x >= low && note.x <= high;
  };

  const markAlpha = (picture) => {
    if (!picture.overAlpha || !picture.plot._fullData) return;
    const wanted = alpha();
    const told = [];
    const xs = [];
    const ys = [];
    for (const [i, [xaxis, yaxis]] of picture.markers) {
      const axis = picture.plot._fullLayout[yaxis.replace("y", "yaxis")];
      const curves = curvesOf(picture).get(`${xaxis} ${yaxis}`) ?? [];
      const heights = curves.map((trace) => heightAt(trace.x, trace.y, wanted, axis.type === "log"));
      const there = heights.flatMap((height, place) => (Number.isFinite(height) ? [place] : []));
      xs.push(there.map(() => wanted));
      ys.push(there.map((place) => heights[place]));
      if (there.length && there.length <= 6) {
        const values = there.map((place) => `${report.plain(curves[place].name)} ${heights[place].toPrecision(4)}`);
        told.push(`${panelName(picture.plot.layout, yaxis, axis)}: ${values.join(", ")}`);
      }
    }
    const indices = picture.markers.map(([i]) => i);
    const lines = picture.markers.map(([, [x, y]]) => ({
      type: "line", xref: x, yref: `${y} domain`, x0: wanted, x1: wanted, y0: 0, y1: 1, line: { color: report.mark(), width: 1.5 }, name: "α",
    }));
    const others = (picture.plot.layout.shapes ?? []).filter((shape) => shape.name !== "α");
    Plotly.update(picture.plot, { x: xs, y: ys, "marker.color": report.mark() }, { shapes: [...others, ...lines] }, indices);
    picture.marked = wanted;
    const readout = picture.element.querySelector(".readout");
    readout.hidden = !told.length;
    const place = Object.assign(document.createElement("b"), { textContent: `At α = ${wanted.toFixed(2)}` });
    readout.replaceChildren(place, ` ${told.join("; ")}`);
  };

  // --- layers ----------------------------------------------------------------------------------------------
  const chooser = document.getElementById("layer");

  const showLayer = (picture) => {
    const chosen = chooser?.value ?? "";
    if ((picture.layer ?? "") === chosen) return;
    picture.layer = chosen;
    const { data } = picture.plot;
    const owners = data.map((trace) => trace.meta?.layer);
    const owned = owners.flatMap((owner, i) => (owner === undefined ? [] : [i]));
    if (owned.length) Plotly.restyle(picture.plot, { visible: owned.map((i) => chosen === "" || owners[i] === chosen) }, owned);
    data.forEach((trace, i) => {
      const shares = trace.meta?.x_of_layers;
      if (shares) {
        picture.shares ??= Array.from(picture.plot._fullData[i].x);
        picture.texts ??= Array.from(picture.plot._fullData[i].text);
        const x = chosen === "" ? picture.shares : (shares[chosen] ?? picture.shares.map(() => 0));
        const text = chosen === "" ? picture.texts : x.map((share) => `${(100 * share).toFixed(1)}%`);
        Plotly.restyle(picture.plot, { x: [x], text: [text] }, [i]);
      } else if (trace.meta?.layers && trace.type === "heatmap") {
        picture.rows ??= new Map();
        if (!picture.rows.has(i)) picture.rows.set(i, trace.z);
        const isShown = (place) => chosen === "" || trace.meta.layers[place] === chosen;
        const z = picture.rows.get(i).map((row, place) => (isShown(place) ? row : row.map(() => null)));
        Plotly.restyle(picture.plot, { z: [z] }, [i]);
      } else if (trace.meta?.layers) {
        const places = trace.meta.layers.flatMap((id, place) => (id === chosen ? [place] : []));
        Plotly.restyle(picture.plot, { selectedpoints: [chosen === "" ? null : places] }, [i]);
      }
    });
    markAlpha(picture);
  };

  const chooseLayer = () => {
    for (const picture of report.pictures.values()) if (picture.drawn && picture.inView) showLayer(picture);
    for (const row of document.querySelectorAll("tr[data-layer]")) row.hidden = chooser.value !== "" && row.dataset.layer !== chooser.value;
    announce(chooser.value === "" ? "all layers are shown" : `only layer ${chooser.value} is shown`);
  };

  // --- put together ----------------------------------------------------------------------------------------
  report.controls = {
    addMarkers(picture) {
      const pairs = new Map();
      for (const trace of picture.data) if (isCurve(trace)) pairs.set(`${trace.xaxis ?? "x"} ${trace.yaxis ?? "y"}`, [trace.xaxis ?? "x", trace.yaxis ?? "y"]);
      picture.markers = [...pairs.values()].map((axes) => {
        const marker = { size: 8, color: report.mark(), line: { width: 1, color: "rgba(255,255,255,0.7)" } };
        picture.data.push({ type: "scatter", mode: "markers", x: [], y: [], xaxis: axes[0], yaxis: axes[1], marker, hoverinfo: "skip", showlegend: false, name: "α", meta: "α" });
        return [picture.data.length - 1, axes];
      });
    },
    drawn(picture) {
      picture.listeners.forEach((listener) => listener());
      report.planes.fit(picture);
      markAlpha(picture);
      showLayer(picture);
    },
    seen(picture) {
      if (!picture.drawn || !picture.plot._fullData) return;
      if (picture.overAlpha && picture.marked !== alpha()) markAlpha(picture);
      showLayer(picture);
    },
  };

  report.startControls = () => {
    let waiting = false;
    slider?.addEventListener("input", () => {
      document.getElementById("alpha-value").textContent = alpha().toFixed(2);
      if (waiting) return;
      waiting = true;
      requestAnimationFrame(() => {
        waiting = false;
        for (const picture of report.pictures.values()) if (picture.inView) markAlpha(picture);
      });
    });
    chooser?.addEventListener("change", chooseLayer);
    report.onTheme(() => report.pictures.forEach((picture) => markAlpha(picture)));
  };
})();
