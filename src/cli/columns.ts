/** Rows below each other, for people. Columns in which no row but the first, the head, has anything are left out. */
export function columns([head = [], ...rows]: readonly (readonly string[])[]): string[] {
  const used = head.flatMap((_, column) => (rows.some((row) => row[column] !== '') ? [column] : []));
  const all = [head, ...rows].map((row) => used.map((column) => row[column] ?? ''));
  const widths = used.map((_, column) => Math.max(...all.map((row) => row[column]?.length ?? 0)));
  return all.map((row) =>
    row
      .map((cell, column) => cell.padEnd(widths[column] ?? 0))
      .join('  ')
      .trimEnd(),
  );
}
