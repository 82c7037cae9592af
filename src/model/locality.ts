/** Whether a text is a locality, `region/zone/subzone`, of which the last one or two parts may be left out. */
export function isLocality(text: string): boolean {
  const parts = text.split('/');
  return parts.length <= 3 && parts.every((part) => part !== '');
}
