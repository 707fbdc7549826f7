// Bundles the tests and runs them: `npm test`, `npm test -- unit`, `npm test -- browser`, and after these what node's runner
// takes, such as `--test-name-pattern=lasso`.
// CLCC_PAGE: a page of the program, to test beside the made-up ones. CLCC_SHOTS: a folder for pictures.
import { spawnSync } from "node:child_process";
import { readdirSync, rmSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const root = join(dirname(fileURLToPath(import.meta.url)), "..");
const kinds = process.argv[2] ? [process.argv[2]] : ["unit", "browser"];
// A folder of its own, so that two runs do not take each other's files.
const outdir = join(root, "build", "tests", String(process.pid));
const entryPoints = kinds.flatMap((kind) =>
  readdirSync(join(root, "tests", kind)).filter((f) => f.endsWith(".test.ts")).map((f) => join(root, "tests", kind, f)));
await build({
  entryPoints, outdir, outbase: join(root, "tests"), bundle: true, platform: "node", format: "esm", outExtension: { ".js": ".mjs" },
  external: ["playwright-core", "axe-core"], sourcemap: "inline", logLevel: "error", absWorkingDir: root,
});
const files = kinds.flatMap((kind) => readdirSync(join(outdir, kind)).filter((f) => f.endsWith(".mjs")).map((f) => join(outdir, kind, f)));
// One file after another: the figures of time are of one browser at work.
const run = spawnSync(process.execPath, ["--enable-source-maps", "--test", "--test-concurrency=1", "--test-reporter=spec", ...process.argv.slice(3), ...files], { cwd: root, stdio: "inherit" });
rmSync(outdir, { recursive: true, force: true });
process.exitCode = run.status ?? 1;
