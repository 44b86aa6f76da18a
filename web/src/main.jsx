import "./adapt.js";
import { createRoot } from "react-dom/client";
import LocustUi from "locust-ui";
import Limiter from "./Limiter.jsx";
import { watch } from "./watch.js";

const extendedTabs = [{ key: "limiter", title: "Limiter", component: Limiter }];
const extendedReports = [{ href: "./result", title: "Download result as JSON" }];

createRoot(document.getElementById("root")).render(
  <LocustUi extendedReports={extendedReports} extendedTabs={extendedTabs} />,
);
watch();
