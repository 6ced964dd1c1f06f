"use strict";
// Pictures are drawn when they come into view, in the colours and the width of the page.
(() => {
  const report = window.thetascope;
  const NARROW = 560;
  const config = { displaylogo: false, showSendToCloud: false, responsive: true, displayModeBar: false, scrollZoom: false };
  report.pictures = new Map();

  // Entities and tags that plotly reads, as plain text.
  report.plain = (text) => new DOMParser().parseFromString(String(text).replaceAll(/<br>/g, " "), "text/html").documentElement.textContent;

  report.put = (object, path, value) => {
    const keys = path.split(".");
    const last = keys.pop();
    keys.reduce((inner, key) => (inner[key] ??= {}), object)[last] = value;
  };

  // On a narrow page colour bars lie above the picture; what the menus would put there too.
  const layBars = (picture) => {
    const lying = (bar) =>
      bar && { ...bar, orientation: "h", x: 0, xanchor: "left", y: 1.0, yanchor: "bottom", len: 1, thickness: 10, title: { ...bar.title, side: "top" } };
    for (const trace of picture.data) if (trace.colorbar) trace.colorbar = lying(trace.colorbar);
    for (const { buttons } of picture.menus) {
      for (const { args } of buttons) if (Array.isArray(args?.[0]?.colorbar)) args[0].colorbar = args[0].colorbar.map(lying);
    }
  };
  class Picture {
    constructor(element) {
      this.element = element;
      this.name = element.dataset.name;
      this.plot = element.querySelector(".plot");
      this.drawn = null;
      this.inView = false;
      this.listeners = [];
    }

    get is3d() {
      return this.plot.data.some((trace) => trace.meta === "3d" && trace.visible === true);
    }

    draw() {
      this.drawn ??= this.#draw();
      return this.drawn;
    }

    async #draw() {
      const content = JSON.parse(this.element.querySelector("script.figure").textContent);
      Object.assign(this, content);
      this.narrow = this.plot.clientWidth < NARROW;
      this.wide = structuredClone(this.layout);
      if (this.narrow) {
        this.layout = this.fitted(true);
        layBars(this);
      }
      report.planes.build(this);
      this.layout.template = report.template();
      this.setHeight(this.layout.height);
      this.layout.autosize = true;
      this.ink(this.data);
      report.controls.addMarkers(this);
      await Plotly.newPlot(this.plot, this.data, { ...this.layout, height: undefined }, config);
      report.controls.drawn(this);
    }

    // The page says how large a picture is, and plotly follows: in both directions, or it would follow in none.
    setHeight(height) {
      this.plot.style.height = `${height}px`;
    }

    // The picture says what a narrow page changes; what buttons did to the axes stays.
    fitted(narrow) {
      const layout = structuredClone(this.wide);
      const changes = { ...(narrow ? this.narrowly : {}), ...this.chosen };
      for (const [path, value] of Object.entries(changes)) report.put(layout, path, structuredClone(value));
      return layout;
    }

    // The picture says which of its colours are others on dark ground.
    ink(traces, dark = report.isDark()) {
      for (const [i, path, ...shades] of this.inks) report.put(traces[i], path, shades[Number(dark)]);
    }

    recolour() {
      if (!this.drawn) return;
      const paths = Object.groupBy(this.inks, ([, path]) => path);
      for (const [path, inks] of Object.entries(paths)) {
        Plotly.restyle(this.plot, { [path]: inks.map(([, , ...shades]) => shades[Number(report.isDark())]) }, inks.map(([i]) => i));
      }
      Plotly.relayout(this.plot, { template: report.template() });
    }

    refit() {
      if (!this.drawn || !this.plot.layout) return;
      const narrow = this.plot.clientWidth < NARROW;
      if (this.plot.clientWidth === 0) return;
      if (narrow === this.narrow) {
        report.planes.fit(this);
        return;
      }
      this.narrow = narrow;
      const keep = { template: report.template(), shapes: this.plot.layout.shapes, autosize: true };
      const layout = { ...this.fitted(narrow), ...keep };
      this.setHeight(layout.height);
      Plotly.react(this.plot, this.plot.data, { ...layout, height: undefined }, config).then(() => report.controls.drawn(this));
    }
  }

  const queue = [];
  let drawing = false;
  const work = async () => {
    if (drawing) return;
    drawing = true;
    while (queue.length) {
      queue.sort((a, b) => b.inView - a.inView || a.element.offsetTop - b.element.offsetTop);
      await queue.shift().draw();
      if (!performance.getEntriesByName("first-picture").length) requestAnimationFrame(() => performance.mark("first-picture"));
      await new Promise((done) => requestAnimationFrame(() => setTimeout(done)));
    }
    drawing = false;
  };

  report.startPictures = () => {
    const near = new IntersectionObserver(
      (entries) => {
        for (const entry of entries.filter((one) => one.isIntersecting)) {
          near.unobserve(entry.target);
          queue.push(report.pictures.get(entry.target.dataset.name));
        }
        work();
      },
      { rootMargin: "400px" },
    );
    const seen = new IntersectionObserver((entries) => {
      for (const entry of entries) {
        const picture = report.pictures.get(entry.target.dataset.name);
        picture.inView = entry.isIntersecting;
        if (picture.inView) report.controls.seen(picture);
      }
    });
    for (const element of document.querySelectorAll("figure.picture")) {
      if (!element.querySelector(".plot")) continue;
      const picture = new Picture(element);
      picture.setHeight(picture.plot.dataset.height);
      report.pictures.set(picture.name, picture);
      near.observe(element);
      seen.observe(element);
      new ResizeObserver(() => picture.refit()).observe(picture.plot);
    }
    queue.push(...[...report.pictures.values()].slice(0, 1)); // the first one at once
    work();
    report.onTheme(() => report.pictures.forEach((picture) => picture.recolour()));
  };

  // On paper all pictures are there, light, and as wide as the paper.
  report.startPrinting = () => {
    let folded = [];
    addEventListener("beforeprint", () => {
      report.onPaper = true;
      report.printing(true);
      folded = [...document.querySelectorAll("details.origin:not([open])")];
      for (const details of folded) details.open = true;
      for (const picture of report.pictures.values()) {
        picture.plot.style.width = "680px";
        picture.draw();
        if (picture.plot.layout) Plotly.relayout(picture.plot, { autosize: true });
      }
    });
    addEventListener("afterprint", () => {
      report.onPaper = false;
      report.printing(false);
      for (const details of folded) details.open = false;
      for (const picture of report.pictures.values()) {
        picture.plot.style.width = "";
        if (picture.plot.layout) Plotly.relayout(picture.plot, { autosize: true });
      }
    });
  };
})();
