import { execFileSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';

/** Paths of PEM files. */
export interface Certificates {
  /** The authority of `cert`. */
  readonly ca: string;
  /** For 127.0.0.1 and localhost, as a server or a client. */
  readonly cert: string;
  /** The key of `cert`, in PKCS #8. */
  readonly key: string;
  /** An authority that has nothing to do with `cert`. */
  readonly otherCa: string;
}

/** Makes an authority and a certificate of it, good for two days. */
export function makeCertificates(folder: string): Certificates {
  const file = (name: string) => join(folder, name);
  const make = (name: string, subject: string, ...more: string[]) =>
    execFileSync(
      'openssl',
      ['req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-days', '2', '-subj', `/CN=${subject}`].concat(
        ['-keyout', file(`${name}.key`), '-out', file(`${name}.pem`)],
        more,
      ),
      { stdio: 'pipe' },
    );
  make('ca', 'authority of a test');
  make('other', 'another authority');
  const { cert, key } = makeCertificate(folder, 'server', 'IP:127.0.0.1,DNS:localhost');
  return { ca: file('ca.pem'), cert, key, otherCa: file('other.pem') };
}

/**
 * Makes a certificate of one of the folder's authorities, good for two days.
 *
 * @param name of its files; those of that name are replaced
 * @param subjectAltName such as `DNS:localhost` or `URI:spiffe://cluster.local/ns/a/sa/b`
 */
export function makeCertificate(
  folder: string,
  name: string,
  subjectAltName: string,
  authority: 'ca' | 'other' = 'ca',
): { readonly cert: string; readonly key: string } {
  const file = (one: string) => join(folder, one);
  const extensions = file('extensions.cnf');
  writeFileSync(extensions, `subjectAltName=${subjectAltName}\nbasicConstraints=CA:FALSE\n`);
  const key = file(`${name}.key`);
  const cert = file(`${name}.pem`);
  const request = execFileSync(
    'openssl',
    ['req', '-new', '-newkey', 'rsa:2048', '-nodes', '-subj', `/CN=${name}`, '-keyout', key],
    { stdio: 'pipe' },
  );
  const signing = ['-CA', file(`${authority}.pem`), '-CAkey', file(`${authority}.key`), '-CAcreateserial'];
  execFileSync('openssl', ['x509', '-req', ...signing, '-days', '2', '-extfile', extensions, '-out', cert], {
    input: request,
    stdio: 'pipe',
  });
  return { cert, key };
}
