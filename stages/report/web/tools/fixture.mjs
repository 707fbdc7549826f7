// Writes two made-up pages into a folder: `npm run fixture -- FOLDER`.
import { dirname, join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { build } from "esbuild";

const root = join(dirname(fileURLToPath(import.meta.url)), "..");
const outfile = join(root, "build", "fixture.mjs");
await build({ entryPoints: [join(root, "tests/fixture/page.ts")], bundle: true, platform: "node", format: "esm", outfile, logLevel: "error" });
const { writePages } = await import(pathToFileURL(outfile).href);
const made = writePages(process.argv[2] ?? join(root, "build", "pages"), join(root, "dist"));
console.log(Object.values(made).join("\n"));
