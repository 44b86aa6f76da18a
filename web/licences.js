// Writes src/licences.txt: the notices of everything that ends up in the pages. Those of packages that
// locust-ui has inside itself stand in licences/, since it ships them without.
import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";

const lock = JSON.parse(readFileSync("package-lock.json", "utf8"));
const sections = [];

function add(name, version, text) {
  sections.push(`${name} ${version}\n\n${text.trim()}\n`);
}

function noticeOf(dir) {
  const file = readdirSync(dir).find((name) => /^licen[cs]e/i.test(name));
  return file && readFileSync(`${dir}/${file}`, "utf8");
}

for (const [path, { dev, version, license }] of Object.entries(lock.packages).sort(([a], [b]) => (a < b ? -1 : 1))) {
  // Some are only needed at build time by those that are needed; to name too many does no harm.
  if (path === "" || dev || !existsSync(path)) {
    continue;
  }
  add(path.replace(/^.*node_modules\//, ""), version, noticeOf(path) ?? `Licence: ${license}`);
}
const ui = "node_modules/.locust-ui";
add("locust-ui", JSON.parse(readFileSync(`${ui}/package.json`, "utf8")).version, noticeOf(ui));
for (const name of readdirSync("licences").sort()) {
  add(name.replace(/\.txt$/, ""), "(part of locust-ui)", readFileSync(`licences/${name}`, "utf8"));
}
writeFileSync("src/licences.txt", sections.join("\n" + "-".repeat(80) + "\n\n"));
