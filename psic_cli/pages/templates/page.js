"use strict";
// Pictures laid over each other: the range input moves the line between them, the lists choose what is on either side.
for (const figure of document.querySelectorAll("figure.compare")) {
  const stage = figure.querySelector(".stage");
  const range = figure.querySelector("input[type=range]");
  const move = () => stage.style.setProperty("--cut", range.value + "%");
  const choose = () => {
    for (const select of figure.querySelectorAll("select")) {
      const side = select.dataset.side;
      figure.dataset[side] = select.value;
      select.parentElement.className = "tone-" + select.value;
      for (const image of stage.querySelectorAll("img")) image.classList.toggle(side, image.dataset.version === select.value);
    }
  };
  range.addEventListener("input", move);
  figure.addEventListener("change", choose);
  move();
  choose();
}
// A legend switches its lines on and off.
for (const button of document.querySelectorAll(".legend button")) {
  const chart = button.closest(".chart");
  const line = [...chart.querySelectorAll(".line")].find((g) => g.dataset.series === button.dataset.series);
  button.addEventListener("click", () => {
    const shown = button.getAttribute("aria-pressed") !== "true";
    button.setAttribute("aria-pressed", String(shown));
    line.toggleAttribute("hidden", !shown);
  });
  for (const [event, on] of [["pointerenter", true], ["focus", true], ["pointerleave", false], ["blur", false]])
    button.addEventListener(event, () => line.classList.toggle("lit", on));
}
