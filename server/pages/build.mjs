// Bundles the pages: node build.mjs [folder]. The same sources give the same bytes on every machine.
import { cpSync, existsSync, mkdirSync, readFileSync, readdirSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const here = dirname(fileURLToPath(import.meta.url));
const out = process.argv[2] ?? join(here, "static");
process.chdir(here);
mkdirSync(out, { recursive: true });

await build({
  entryPoints: ["src/map.ts", "src/progress.ts", "src/label.ts"],
  outdir: out,
  bundle: true,
  minify: true,
  format: "esm",
  target: "es2022",
  charset: "utf8",
  legalComments: "none", // NOTICE.txt has them all
});
for (const file of readdirSync("src")) {
  if (file.endsWith(".html") || file.endsWith(".css")) cpSync(join("src", file), join(out, file));
}

// licences of everything that the bundle may contain: packages bring copies of others inside them
const { packages } = JSON.parse(readFileSync("package-lock.json", "utf8"));
const used = Object.keys(packages).filter((path) => path && !packages[path].dev);
const parts = ["The pages contain these packages, each under its licence.\n"];
for (const folder of used.sort()) {
  const about = JSON.parse(readFileSync(join(folder, "package.json"), "utf8"));
  const file = readdirSync(folder).find((one) => /^licen[cs]e/i.test(one));
  if (!file || !existsSync(join(folder, file))) throw new Error(`${folder}: no licence file`);
  parts.push(`${"=".repeat(80)}\n${about.name} ${about.version} (${about.license})\n\n`);
  parts.push(readFileSync(join(folder, file), "utf8").replace(/\r\n/g, "\n").trim() + "\n");
}
writeFileSync(join(out, "NOTICE.txt"), parts.join("\n"));
