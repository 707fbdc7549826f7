// The report page: what is static is in the page already; this fills the views from the packed data, each when
// it comes near the screen.

import { startSelection } from "./cells/recall";
import { cellsView } from "./cells/view";
import { genes } from "./data/genes";
import { enrichmentView } from "./enrichment";
import { startFigures } from "./figures";
import { geneView, openGene } from "./gene/view";
import { genomeView } from "./genome/view";
import { hasChunk } from "./lib/chunks";
import { byId, el, whenNear } from "./lib/dom";
import { startTheme } from "./lib/theme";
import { startTips } from "./lib/tip";
import { startNavigation } from "./nav";
import { startProvenance } from "./provenance";
import { startSearch } from "./search";
import { contrastsView, geneTable } from "./table/genes";
import { startStaticTables } from "./table/static";

type View = (section: HTMLElement, body: HTMLElement) => Promise<void>;

const VIEWS: Readonly<Record<string, View>> = {
  gene: geneView,
  genome: (_, body) => genomeView(body),
  cells: (_, body) => cellsView(body),
  enrichment: enrichmentView,
  "all-genes": async (_, body) => body.replaceChildren(geneTable(await genes()).element),
  contrasts: async (_, body) => contrastsView(body, hasChunk("genes") ? await genes() : null),
};

async function start(section: HTMLElement, view: View): Promise<void> {
  const body = section.querySelector<HTMLElement>(":scope > .view-body") ?? section;
  try {
    await view(section, body);
    section.querySelector(":scope > .needs-script")?.remove();
    performance.mark(`ready-${section.id}`);
  } catch (error) {
    body.replaceChildren(el("p", { class: "note warning" }, `This part of the page cannot be shown: ${(error as Error).message}.`));
    console.error(error);
  }
}

/** Run one part; a fault in it leaves the others whole. */
function part(run: () => void): void {
  try {
    run();
  } catch (error) {
    console.error(error);
  }
}

/** How many warnings there are, beside their heading. */
function countWarnings(): void {
  const box = byId("believe"), heading = box?.querySelector("h2"), n = box?.querySelectorAll("details.w").length ?? 0;
  if (heading && n && !heading.querySelector(".count")) heading.append(" ", el("span", { class: "count" }, String(n)));
}

document.documentElement.classList.remove("no-js");
part(countWarnings);
part(startTheme);
part(startTips);
part(startNavigation);
part(() => hasChunk("genes") && startSearch(openGene));
for (const [id, view] of Object.entries(VIEWS)) {
  const section = byId(id);
  // Gene sets of several answers are tables alone.
  if (section && hasChunk(section.dataset["chunk"] ?? "")) whenNear(section, () => void start(section, view));
}
part(() => hasChunk("cells") && startSelection());
part(() => hasChunk("tables") && startStaticTables());
part(startFigures);
part(startProvenance);
performance.mark("page-ready");
