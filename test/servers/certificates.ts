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
  const extensions = file('extensions.cnf');
  writeFileSync(extensions, 'subjectAltName=IP:127.0.0.1,DNS:localhost\nbasicConstraints=CA:FALSE\n');
  const request = execFileSync(
    'openssl',
    ['req', '-new', '-newkey', 'rsa:2048', '-nodes', '-subj', '/CN=localhost', '-keyout', file('server.key')],
    {
      stdio: 'pipe',
    },
  );
  const authority = ['-CA', file('ca.pem'), '-CAkey', file('ca.key'), '-CAcreateserial'];
  execFileSync(
    'openssl',
    ['x509', '-req', ...authority, '-days', '2', '-extfile', extensions, '-out', file('server.pem')],
    {
      input: request,
      stdio: 'pipe',
    },
  );
  return { ca: file('ca.pem'), cert: file('server.pem'), key: file('server.key'), otherCa: file('other.pem') };
}
