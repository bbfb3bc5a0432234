// Words of the pages: reasons, uncertainty, scales.
import assert from "node:assert/strict";
import { test } from "node:test";
import { load } from "./load.mjs";

const { reasonOf } = await load("reasons");
const { ranked } = await load("pool");
const { colouring } = await load("colouring");

test("a reason is shown in the server's words for readers where it has any", () => {
  const pick = { role: "combined", entropy: 0.9, reason: "The model gives it an uncertainty of 0.90 (rank 3 of 6 in the plan)." };
  assert.equal(reasonOf({ ...pick, plain: "The model is very unsure about it." }), "The model is very unsure about it.");
  assert.equal(reasonOf({ ...pick, plain: null }), "The model gives it an uncertainty of 0.90.");
  assert.equal(reasonOf({}), "");
});

test("a rank in a plan does not contradict the number in the list", () => {
  assert.equal(reasonOf({ role: "drawn", reason: "Chosen at random (seed 42) (rank 3 of 6 in the plan)." }), "Chosen at random (seed 42).");
  const reason = "Resumed: your oldest open image. The most typical image of cluster 1 (rank 3 of 6 in the plan).";
  assert.equal(reasonOf({ role: "medoid", cluster: 0, reason }), "Resumed: your oldest open image. The most typical image of cluster 1.");
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
