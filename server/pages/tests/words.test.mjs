// Words of the pages: reasons, uncertainty, scales.
import assert from "node:assert/strict";
import { test } from "node:test";
import { load } from "./load.mjs";

const { reasonOf } = await load("reasons");
const { ranked } = await load("pool");
const { colouring } = await load("colouring");

const combined = (entropy, distance) => reasonOf({ role: "combined", round: 2, entropy, distance, reason: "numbers" });

test("a reason says what the model and the map say, without numbers", () => {
  assert.equal(combined(0.9, 0.4), "The model of round 2 is very unsure about it, and it looks quite unlike the labelled images.");
  assert.equal(combined(0.1, 0.4), "The model of round 2 is fairly sure about it, but it looks quite unlike the labelled images.");
  assert.equal(combined(0.5, 0.01), "The model of round 2 is rather unsure about it, though it looks much like the labelled images.");
  assert.equal(combined(0.1, 0.01), "The model of round 2 is fairly sure about it, and it looks much like the labelled images.");
});

test("a rank in a plan does not contradict the number in the list", () => {
  assert.equal(reasonOf({ role: "drawn", reason: "Chosen at random (seed 42) (rank 3 of 6 in the plan)." }), "Chosen at random (seed 42).");
  const reason = "Resumed: your oldest open image. The most typical image of cluster 1 (rank 3 of 6 in the plan).";
  assert.match(reasonOf({ role: "medoid", cluster: 0, reason }), /^Resumed: your oldest open image\. The most typical image of cluster 1, a group/);
  assert.equal(reasonOf({ role: "marked", reason: "Ada marked it to come next." }), "Ada marked it to come next.");
});

test("uncertainty is compared within the pool", () => {
  const entropy = [0.998, null, 1.023, 1.01, 0.999];
  const pool = ranked({ entropy });
  assert.deepEqual(entropy.map((_, row) => pool.uncertain(row)), ["lowest in this pool", "", "highest in this pool", "2nd highest of 4", "3rd highest of 4"]);
  const many = ranked({ entropy: Array.from({ length: 30 }, (_, row) => -row) });
  assert.deepEqual([10, 11, 12, 20, 21].map((row) => many.uncertain(row).split(" ")[0]), ["11th", "12th", "13th", "21st", "22nd"]);
});

test("Dice has its own scale, and uncertainty that of the pool", () => {
  const pool = { entropy: [0.9, 1.1, null], quality: [0.41, 0.436, null] };
  assert.deepEqual(colouring(pool, "quality").range, [0, 1]);
  assert.deepEqual(colouring(pool, "entropy").range, [0.9, 1.1]);
  assert.ok(colouring(pool, "quality").groups[1] < 32, "0.436 is below the middle");
});
