// Colours that colour-blind people can tell apart.

/** Okabe and Ito, "Color Universal Design" (2008); unlabelled images stay in the background, in grey. */
export const STATE = ["#b4bcc5", "#e69f00", "#0072b2", "#009e73", "#d55e00", "#cc79a7", "#56b4e9"];
export const UNKNOWN = "#d5dae0";
const OKABE_ITO = ["#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#8a7a00", "#4d4d4d"];

/** Return the colour of a cluster: the palette, then lighter, then darker. */
export function clusterColor(cluster: number): string {
  const base = OKABE_ITO[cluster % OKABE_ITO.length];
  const turn = Math.floor(cluster / OKABE_ITO.length) % 3;
  return turn === 0 ? base : mix(base, turn === 1 ? "#ffffff" : "#000000", 0.45);
}

/** viridis (van der Walt and Smith, CC0), at 9 places; brighter towards yellow. */
const VIRIDIS = ["#440154", "#472d7b", "#3b528b", "#2c728e", "#21918c", "#28ae80", "#5ec962", "#addc30", "#fde725"];
export const STEPS = 64;
export const RAMP = Array.from({ length: STEPS }, (_, step) => {
  const at = (step / (STEPS - 1)) * (VIRIDIS.length - 1);
  const low = Math.min(Math.floor(at), VIRIDIS.length - 2);
  return mix(VIRIDIS[low], VIRIDIS[low + 1], at - low);
});

function mix(one: string, other: string, share: number): string {
  const parts = [1, 3, 5].map((at) => {
    const [a, b] = [one, other].map((color) => parseInt(color.slice(at, at + 2), 16));
    return Math.round(a + (b - a) * share).toString(16).padStart(2, "0");
  });
  return `#${parts.join("")}`;
}
