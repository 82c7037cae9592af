/** A name of a document or role, as every store takes it. @throws TypeError if it is none */
export function checkName(name: string): string {
  if (/^[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?$/.test(name)) return name;
  throw new TypeError(
    `"${name}" is no name of a document or role: expected lower-case letters, digits and dashes, at most 40`,
  );
}
