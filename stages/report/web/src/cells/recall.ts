// Keeps the selection and the address alike: a selection is a step that Back undoes, and an address makes its selection.

import { cells as loadCells } from "../data/cells";
import { genome as loadGenome } from "../data/genome";
import { hasChunk } from "../lib/chunks";
import { selection, store } from "../lib/store";
import { follow } from "./recipe";

export function startSelection(): void {
  selection.on(() => {
    if (selection.recipe !== store.state.cells) store.set({ cells: selection.recipe }, "push");
  });
  const recall = (): void => void made(store.state.cells);
  store.on(["cells"], recall);
  recall();
}

async function made(recipe: string): Promise<void> {
  if (recipe === selection.recipe) return;
  if (!recipe) return selection.set(null, "");
  const [cells, genome] = await Promise.all([loadCells(), hasChunk("genome") ? loadGenome() : null]);
  // Another selection may have been made while the cells were unpacked.
  if (recipe !== store.state.cells) return;
  const groupName = (index: number): string => {
    const group = genome?.head.groups[index];
    return group ? `${genome.head.patients[group.patient] ?? ""} ${group.clone}` : "";
  };
  const found = follow(recipe, cells, groupName);
  selection.set(found?.cells ?? null, found?.name ?? "", found ? recipe : "");
}
