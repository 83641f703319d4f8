"use strict";
// Looks up texts that were computed before; it computes none.
for (const box of document.querySelectorAll(".sliders")) {
  const name = box.dataset.name;
  const data = JSON.parse(box.querySelector("script.data").textContent);
  const inputs = [...box.querySelectorAll("input")];
  const outputs = box.querySelectorAll(".values dd");
  const marks = box.querySelectorAll(`[id^="${name}-mark"]`);
  const n = data.positions[1].length; // of tolerances; further lines are no choice
  const lines = box.querySelectorAll(`[id^="${name}-line"]`);
  const show = () => {
    const places = inputs.map((input) => Number(input.value));
    places.forEach((place, k) => {
      const text = data.positions[k][place];
      document.getElementById(`${name}-at${k}`).textContent = text;
      inputs[k].setAttribute("aria-valuetext", text);
    });
    data.values[places.join(",")].forEach((text, k) => {
      outputs[k].textContent = text;
    });
    for (const mark of marks) {
      mark.setAttribute("transform", `translate(${data.moves[places[0]]} 0)`);
    }
    for (const line of lines) {
      const shown = line.id.startsWith(`${name}-line${places[1]}-`);
      line.style.opacity = shown || line.id.startsWith(`${name}-line${n}-`) ? 1 : 0.35;
    }
  };
  for (const input of inputs) {
    input.disabled = false;
    input.addEventListener("input", show);
  }
  show();
}

for (const box of document.querySelectorAll(".viewer")) {
  const data = JSON.parse(box.querySelector("script.data").textContent);
  const stage = box.querySelector("svg.stage");
  const picture = stage.querySelector("use");
  const paths = stage.querySelectorAll(":scope > path");
  const output = box.querySelector("output");
  const last = data.labels.length - 1;
  let at = Number(stage.getAttribute("aria-valuenow")) - 1;
  let drag = null;
  box.querySelector(".moving").hidden = false;
  const show = (wanted) => {
    const before = at;
    at = Math.min(last, Math.max(0, wanted));
    picture.setAttribute("y", -at * data.height);
    paths.forEach((path, k) => path.setAttribute("d", data.paths[k][at]));
    output.textContent = data.labels[at];
    stage.setAttribute("aria-valuenow", at + 1);
    stage.setAttribute("aria-valuetext", data.labels[at]);
    return at !== before;
  };
  const keys = {
    ArrowUp: () => at + 1, ArrowRight: () => at + 1, ArrowDown: () => at - 1, ArrowLeft: () => at - 1,
    PageUp: () => at + 5, PageDown: () => at - 5, Home: () => 0, End: () => last,
  };
  stage.addEventListener("keydown", (event) => {
    if (!(event.key in keys) || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    show(keys[event.key]());
  });
  stage.addEventListener("wheel", (event) => {
    if (document.activeElement !== stage) return; // else a page cannot be scrolled past it
    if (show(at + Math.sign(event.deltaY))) event.preventDefault();
  }, { passive: false });
  stage.addEventListener("pointerdown", (event) => {
    drag = { x: event.clientX, from: at };
    stage.focus({ preventScroll: true });
  });
  stage.addEventListener("pointermove", (event) => {
    if (drag === null) return;
    const share = (event.clientX - drag.x) / stage.getBoundingClientRect().width;
    show(drag.from + Math.round(share * last));
  });
  for (const name of ["pointerup", "pointercancel", "pointerleave"]) {
    stage.addEventListener(name, () => { drag = null; });
  }
}
