// Groups of images with colours, by state, cluster or number.

import { clusterColor, RAMP, STATE, STEPS, UNKNOWN } from "./colours";
import type { Colouring, PoolMap } from "./pool";

export function colouring(pool: PoolMap, by: string): Colouring {
  if (by === "state") return counted(pool.state, pool.states, STATE);
  if (by === "cluster") return byCluster(pool);
  return by === "entropy" ? byNumber(pool.entropy, lowestAndHighest(pool.entropy)) : byNumber(pool.quality, [0, 1]);
}

function counted(groups: number[], names: string[], colors: string[]): Colouring {
  const counts = names.map(() => 0);
  for (const group of groups) counts[group]++;
  return { groups, names, colors, counts };
}

function byCluster(pool: PoolMap): Colouring {
  let highest = -1;
  for (const cluster of pool.cluster) highest = Math.max(highest, cluster);
  const names = Array.from({ length: highest + 1 }, (_, cluster) => `cluster ${cluster + 1}`);
  const colors = names.map((_, cluster) => clusterColor(cluster));
  const groups = pool.cluster.map((cluster) => (cluster < 0 ? highest + 1 : cluster));
  return counted(groups, [...names, "not clustered yet"], [...colors, UNKNOWN]);
}

/** Return the ends of the scale of uncertainty: that of a pool has no others that mean anything. */
function lowestAndHighest(values: (number | null)[]): [number, number] {
  let [low, high] = [Infinity, -Infinity];
  for (const value of values) {
    if (value === null) continue;
    low = Math.min(low, value);
    high = Math.max(high, value);
  }
  return [low, high];
}

function byNumber(values: (number | null)[], [low, high]: [number, number]): Colouring {
  const wide = high - low || 1;
  const groups = values.map((value) =>
    value === null ? STEPS : Math.max(0, Math.min(STEPS - 1, Math.floor(((value - low) / wide) * STEPS))),
  );
  const unknown = groups.filter((group) => group === STEPS).length;
  return {
    groups,
    names: ["known", "unknown"],
    colors: [...RAMP, UNKNOWN],
    counts: [values.length - unknown, unknown],
    range: [low, high],
  };
}

/** Return the legend entry of a group. */
export function entryOf(colours: Colouring, group: number): number {
  return colours.range ? Number(group === STEPS) : group;
}
