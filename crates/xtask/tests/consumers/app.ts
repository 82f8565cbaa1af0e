// An app as somebody writes it with the types that cdk8s generates from the CRDs.
import { App, Chart } from 'cdk8s';
import { BackupVerifier, BackupVerifierSpecCleanup, BackupVerifierSpecType, BackupVerificationSession } from './core.kubestash.com';
import { Repository } from './storage.kubestash.com';

const app = new App();
const chart = new Chart(app, 'verification');
new BackupVerifier(chart, 'verifier', {
  metadata: { name: 'every-night' },
  spec: {
    type: BackupVerifierSpecType.RESTORE_ONLY,
    cleanup: BackupVerifierSpecCleanup.ALWAYS,
    timeout: '15m',
    restoreOption: {
      target: { kind: 'PersistentVolumeClaim', name: 'target' },
      addonInfo: { name: 'pvc-addon', tasks: [{ name: 'logical-backup-restore' }] },
    },
  },
});
new Repository(chart, 'repository', {
  spec: {
    appRef: { kind: 'PersistentVolumeClaim', name: 'source' },
    storageRef: { name: 'local' },
    encryptionSecret: { name: 'password' },
    path: '',
  },
});
new BackupVerificationSession(chart, 'session', {
  metadata: { name: 'now' },
  spec: { invoker: { kind: 'BackupConfiguration', name: 'backup' }, repository: 'sample', snapshot: 'latest' },
});
console.log(app.synthYaml());
