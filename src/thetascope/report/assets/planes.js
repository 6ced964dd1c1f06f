"use strict";
// Pictures of planes: their kinds and variables, the turning of a surface, the optimizer's walk.
(() => {
  const report = window.thetascope;
  const STEP = 350;
  const element = (tag, properties = {}, children = []) => {
    const made = Object.assign(document.createElement(tag), properties);
    made.append(...children);
    return made;
  };
  const label = (node, text) => (node.setAttribute("aria-label", text), node);
  const button = (text, click) => {
    const made = element("button", { type: "button", textContent: text });
    made.addEventListener("click", click);
    return made;
  };
  const group = (text, children) => {
    const made = label(element("span", { className: "buttons" }, children), text);
    made.setAttribute("role", "group");
    return made;
  };

  // --- fitting ---------------------------------------------------------------------------------------------
  const DEEP = 600;

  // A plane drawn to scale is as high as its width asks for.
  const fit = (picture) => {
    const full = picture.plot._fullLayout;
    const change = {};
    if (picture.data.some((trace) => trace.meta === "3d")) {
      let height = DEEP;
      if (!picture.is3d && full.yaxis.scaleanchor) {
        const [x, y] = [full.xaxis, full.yaxis].map((axis) => Math.abs(axis.range[1] - axis.range[0]));
        const { t, b, l, r } = full._size;
        height = Math.min(Math.max((picture.plot.clientWidth - l - r) * (y / x) + t + b, 300), picture.wide.height);
      }
      if (picture.narrow) height = Math.min(height, 480);
      if (Math.abs(height - picture.plot.clientHeight) > 8) {
        picture.setHeight(Math.round(height));
        change.autosize = true;
      }
    }
    if (Object.keys(change).length) Plotly.relayout(picture.plot, change);
  };

  // --- kinds, turning --------------------------------------------------------------------------------------
  const hasWebGL = () => Boolean(document.createElement("canvas").getContext("webgl"));

  const menu = (picture, { name, buttons, active }) => {
    const made = buttons.map((one) => button(report.plain(one.label), () => choose(one)));
    const choose = async (one) => {
      stopTurning(picture);
      picture.chosen = { ...picture.chosen, ...one.args[1] };
      await Plotly[one.method](picture.plot, ...structuredClone(one.args));
      press(one);
      picture.listeners.forEach((listener) => listener());
      fit(picture);
    };
    const press = (one) => buttons.forEach((other, i) => made[i].setAttribute("aria-pressed", String(other === one)));
    press(buttons[active ?? 0]);
    return { node: group(name, made), press };
  };

  // Before anything is drawn: the traces and axes as a button would leave them.
  const startWith = (picture, wanted) => {
    wanted.args[0].visible.forEach((shown, i) => (picture.data[i].visible = shown));
    picture.chosen = wanted.args[1];
    for (const [path, value] of Object.entries(wanted.args[1])) report.put(picture.layout, path, value);
  };

  const turnBy = (picture, angle) => {
    const { x, y, z } = picture.plot._fullLayout.scene.camera.eye;
    const [cos, sin] = [Math.cos(angle), Math.sin(angle)];
    return Plotly.relayout(picture.plot, { "scene.camera.eye": { x: x * cos - y * sin, y: x * sin + y * cos, z } });
  };
  const stopTurning = (picture) => {
    picture.turning = false;
    picture.turner?.setAttribute("aria-pressed", "false");
  };
  const keepTurning = async (picture) => {
    while (picture.turning && picture.inView) {
      await turnBy(picture, 0.04);
      await new Promise((done) => requestAnimationFrame(done));
    }
    stopTurning(picture);
  };

  const turning = (picture) => {
    const steps = [label(button("⟲", () => turnBy(picture, -0.26)), "turn left"), label(button("⟳", () => turnBy(picture, 0.26)), "turn right")];
    picture.turner = button("keep turning", () => {
      picture.turning = !picture.turning;
      picture.turner.setAttribute("aria-pressed", String(picture.turning));
      keepTurning(picture);
    });
    picture.turner.setAttribute("aria-pressed", "false");
    const node = group("Turn the surface", [...steps, picture.turner]);
    const shown = () => (node.hidden = !picture.is3d);
    picture.listeners.push(shown);
    return node;
  };

  // --- the walk --------------------------------------------------------------------------------------------
  const nameOf = ({ walk }, place) => `${walk.prefix}${walk.labels[place]}`;
  const showFrame = async (picture, place) => {
    const frame = picture.frames[place];
    picture.place = place;
    picture.walker.value = String(place);
    const told = nameOf(picture, place);
    picture.walker.setAttribute("aria-valuetext", told);
    picture.walkText.textContent = told;
    const keys = new Set(frame.data.flatMap((part) => Object.keys(part).filter((key) => ["x", "y", "z", "text", "name"].includes(key))));
    const change = {};
    for (const key of keys) change[key] = frame.data.map((part) => part[key]);
    await Plotly.restyle(picture.plot, change, frame.traces);
  };
  const stopWalking = (picture) => {
    clearTimeout(picture.timer);
    picture.timer = null;
    picture.player.textContent = "▶ play";
    picture.player.setAttribute("aria-pressed", "false");
  };
  const walkOn = async (picture) => {
    if (picture.place >= picture.frames.length - 1 || !picture.timer) return stopWalking(picture);
    const began = performance.now();
    await showFrame(picture, picture.place + 1);
    if (picture.timer) picture.timer = setTimeout(() => walkOn(picture), Math.max(STEP - (performance.now() - began), 20));
  };
  const walking = (picture) => {
    const last = picture.frames.length - 1;
    picture.place = last;
    picture.player = button("▶ play", async () => {
      if (picture.timer) return stopWalking(picture);
      picture.player.textContent = "❚❚ pause";
      picture.player.setAttribute("aria-pressed", "true");
      picture.timer = setTimeout(() => walkOn(picture), STEP);
      if (picture.place >= last) await showFrame(picture, 0);
    });
    label(picture.player, "let the optimizer walk");
    picture.player.setAttribute("aria-pressed", "false");
    picture.walker = label(element("input", { type: "range", min: "0", max: String(last), step: "1", value: String(last) }), "state of the training");
    picture.walker.addEventListener("input", () => {
      stopWalking(picture);
      showFrame(picture, Number(picture.walker.value));
    });
    picture.walkText = element("output", { textContent: nameOf(picture, last) });
    return element("span", { className: "walk" }, [picture.player, picture.walker, picture.walkText]);
  };

  report.planes = {
    fit,
    build(picture) {
      const place = picture.element.querySelector(".controls");
      for (const one of picture.menus) {
        const made = menu(picture, one);
        place.append(made.node);
        if (one.opens === undefined || report.onPaper || !hasWebGL()) continue;
        startWith(picture, one.buttons[one.opens]);
        made.press(one.buttons[one.opens]);
      }
      if (picture.data.some((trace) => trace.meta === "3d")) place.append(turning(picture));
      if (picture.walk) place.append(walking(picture));
    },
  };
})();
