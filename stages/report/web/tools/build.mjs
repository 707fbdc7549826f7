// Bundles `src` to `dist/page.js` and `page.css` to `dist/page.css`, and stamps both with a digest of
// their sources, so that a test without Node can tell whether they belong together.
// `--check` writes nothing and fails where what is committed differs.
import { createHash } from "node:crypto";
import { readFileSync, readdirSync, writeFileSync, mkdirSync, statSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";
import { build } from "esbuild";

const root = join(dirname(fileURLToPath(import.meta.url)), "..");
const LONGEST_SCRIPT = 100_000;

/** Paths of the sources, relative to the tree, in byte order. */
function sources() {
  const walk = (folder) =>
    readdirSync(join(root, folder)).flatMap((name) => {
      const path = `${folder}/${name}`;
      return statSync(join(root, path)).isDirectory() ? walk(path) : path.endsWith(".ts") ? [path] : [];
    });
  const fixed = ["package.json", "package-lock.json", "page.css", "tsconfig.json", "tools/build.mjs"];
  return [...fixed, ...walk("src")].sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)));
}

/** SHA-256 over each source's path, a zero byte, its length in decimal, a zero byte, its content. */
export function digest() {
  const hash = createHash("sha256");
  for (const path of sources()) {
    const content = readFileSync(join(root, path));
    hash.update(path).update("\0").update(String(content.length)).update("\0").update(content);
  }
  return hash.digest("hex");
}

async function outputs() {
  const stamp = `/*! clcc-page sources sha256:${digest()} */\n`;
  const common = { bundle: true, minify: true, write: false, legalComments: "none", charset: "ascii", absWorkingDir: root };
  const script = await build({ ...common, entryPoints: ["src/main.ts"], format: "iife", target: "es2022" });
  const style = await build({ ...common, entryPoints: ["page.css"], target: ["chrome111", "firefox113", "safari16.4"] });
  return { "page.js": stamp + script.outputFiles[0].text, "page.css": stamp + style.outputFiles[0].text };
}

const made = await outputs();
// What would end its element in the page, or ask anything of the network.
for (const [name, text] of Object.entries(made)) {
  for (const bad of ["</script", "</style", "<!--", "url(", "@import", "http://", "https://", "src="]) {
    if (text.includes(bad)) throw new Error(`dist/${name} holds \`${bad}\``);
  }
}
if (made["page.js"].length > LONGEST_SCRIPT) {
  throw new Error(`dist/page.js has ${made["page.js"].length} bytes, more than ${LONGEST_SCRIPT}`);
}
for (const [name, text] of Object.entries(made)) {
  const path = join(root, "dist", name);
  if (process.argv.includes("--check")) {
    if (readFileSync(path, "utf8") !== text) {
      console.error(`dist/${name} is not what its sources build; run \`npm run build\` and commit it`);
      process.exitCode = 1;
    }
  } else {
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, text);
  }
  console.log(`dist/${name}  ${text.length} bytes, ${gzipSync(text).length} compressed`);
}
