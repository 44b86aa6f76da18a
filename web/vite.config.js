import { fileURLToPath } from "node:url";
import { defineConfig } from "vite";

const here = (path) => fileURLToPath(new URL(path, import.meta.url));

export default defineConfig({
  // Relative names: the page works under any base path.
  base: "./",
  resolve: {
    alias: { "locust-ui": here("node_modules/.locust-ui/lib/webui.js") },
  },
  esbuild: { jsx: "automatic" },
  build: {
    outDir: process.env.WEB_OUT || here("../internal/webui/dist"),
    emptyOutDir: true,
    // One chunk: the page needs all of it at once.
    chunkSizeWarningLimit: 2000,
    modulePreload: false,
    rollupOptions: {
      onwarn: (warning, warn) => {
        // "use client" is for servers that render pages; there is none.
        if (warning.code !== "MODULE_LEVEL_DIRECTIVE") {
          warn(warning);
        }
      },
    },
  },
});
