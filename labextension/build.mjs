// Bundles the widgets into the Python package: one file, nothing is loaded from anywhere else.
import { build } from "esbuild";
import { fileURLToPath } from "node:url";

const here = (path) => fileURLToPath(new URL(path, import.meta.url));

await build({
  entryPoints: [here("src/widgets/index.ts")],
  outfile: here("../mlinfra_lab/widgets/static/monitor.js"),
  bundle: true,
  format: "esm",
  target: "es2022",
  minify: true,
  legalComments: "inline",
  charset: "utf8",
  loader: { ".css": "text" },
  logLevel: "warning",
});
