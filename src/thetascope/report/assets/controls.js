"use strict";
// What all pictures share: α on all paths, and the chosen layer.
(() => {
  const report = window.thetascope;
  const announce = (text) => (document.getElementById("announce").textContent = text);

  // --- α ---------------------------------------------------------------------------------------------------
  const slider = document.getElementById("alpha");
  const alpha = () => Number(slider.value);

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

  const markAlpha = (picture) => {
    if (!picture.cursors?.length || !picture.plot._fullData) return;
    const wanted = alpha();
    const told = [];
    const xs = [];
    const ys = [];
    for (const { axes, name, curves } of picture.cursors) {
      const isLog = picture.plot._fullLayout[axes[1].replace("y", "yaxis")].type === "log";
      const shown = curves.map((i) => picture.plot._fullData[i]).filter((trace) => trace.visible === true);
      const heights = shown.map((trace) => heightAt(trace.x, trace.y, wanted, isLog));
      const there = heights.flatMap((height, place) => (Number.isFinite(height) ? [place] : []));
      xs.push(there.map(() => wanted));
      ys.push(there.map((place) => heights[place]));
      if (there.length && there.length <= 6) {
        const values = there.map((place) => `${report.plain(shown[place].name)} ${heights[place].toPrecision(4)}`);
        told.push(`${report.plain(name)}: ${values.join(", ")}`);
      }
    }
    const lines = picture.cursors.map(({ axes: [x, y] }) => ({
      type: "line", xref: x, yref: `${y} domain`, x0: wanted, x1: wanted, y0: 0, y1: 1, line: { color: report.mark(), width: 1.5 }, name: "α",
    }));
    const others = (picture.plot.layout.shapes ?? []).filter((shape) => shape.name !== "α");
    Plotly.update(picture.plot, { x: xs, y: ys, "marker.color": report.mark() }, { shapes: [...others, ...lines] }, picture.markers);
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
      picture.markers = picture.cursors.map(({ axes: [xaxis, yaxis] }) => {
        const marker = { size: 8, color: report.mark(), line: { width: 1, color: "rgba(255,255,255,0.7)" } };
        return picture.data.push({ type: "scatter", mode: "markers", x: [], y: [], xaxis, yaxis, marker, hoverinfo: "skip", showlegend: false, name: "α", meta: "α" }) - 1;
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
      if (picture.cursors.length && picture.marked !== alpha()) markAlpha(picture);
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
