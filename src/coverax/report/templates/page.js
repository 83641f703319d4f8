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
