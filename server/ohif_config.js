
// What follows is added to the configuration that OHIF ships with: a button that saves the label.
(() => {
  const server = `${window.location.origin}/`;
  document.cookie = `MONAILABEL_SERVER_URL=${escape(server)}`; // what the panel connects to

  const tell = (services, type, message) =>
    services.uiNotificationService.show({ title: 'Submit label', message, type, duration: 8000 });

  // A labelmap as NRRD, with the names of its segments. DICOM's axes and NRRD's are left-posterior-superior.
  function nrrd(volume, segments) {
    const { dimensions, spacing, direction, origin } = volume;
    const axis = i => `(${[0, 1, 2].map(j => direction[3 * i + j] * spacing[i]).join(',')})`;
    const header = [
      'NRRD0004',
      'type: uint8',
      'dimension: 3',
      'space: left-posterior-superior',
      `sizes: ${Array.from(dimensions).join(' ')}`,
      `space directions: ${[0, 1, 2].map(axis).join(' ')}`,
      'kinds: domain domain domain',
      'encoding: raw',
      `space origin: (${Array.from(origin).join(',')})`,
    ];
    segments.forEach((segment, i) => {
      header.push(`Segment${i}_Name:=${segment.label}`, `Segment${i}_LabelValue:=${segment.segmentIndex}`);
    });
    const voxels = Uint8Array.from(volume.voxelManager.getCompleteScalarDataArray());
    return { file: new Blob([`${header.join('\n')}\n\n`, voxels]), empty: !voxels.some(Boolean) };
  }

  async function submitLabel(services) {
    const [segmentation] = services.segmentationService.getSegmentations();
    const volume = segmentation && services.segmentationService.getLabelmapVolume(segmentation.segmentationId);
    if (!volume) {
      return tell(services, 'warning', 'There is no segmentation: connect to MONAI Label, then run a model or draw');
    }
    const { file, empty } = nrrd(volume, Object.values(segmentation.segments));
    if (empty && !window.confirm('Nothing is drawn. Save that there is nothing to be seen in this image?')) {
      return;
    }
    const { viewports, activeViewportId } = services.viewportGridService.getState();
    const [shown] = viewports.get(activeViewportId).displaySetInstanceUIDs;
    const image = services.displaySetService.getDisplaySetByUID(shown).SeriesInstanceUID;
    const body = new FormData();
    body.append('params', JSON.stringify(empty ? { empty } : {}));
    body.append('label', file, 'label.nrrd');
    const address = `${server}datastore/label?image=${encodeURIComponent(image)}`;
    try {
      const answer = await fetch(address, { method: 'PUT', body });
      const said = answer.ok ? 'The label is saved' : (await answer.json()).detail;
      tell(services, answer.ok ? 'success' : 'error', said);
    } catch (error) {
      tell(services, 'error', `The label is not saved: ${error}`);
    }
  }

  window.config.extensions.push({
    id: 'submit-label',
    getCommandsModule: ({ servicesManager }) => ({
      definitions: { submitLabel: { commandFn: () => submitLabel(servicesManager.services) } },
      defaultContext: 'SUBMIT_LABEL',
    }),
    onModeEnter: ({ servicesManager }) => {
      if (!window.location.pathname.endsWith('/monai-label')) {
        return;
      }
      const { toolbarService } = servicesManager.services;
      const props = { icon: 'icon-upload', label: 'Submit label', tooltip: 'Submit label', commands: 'submitLabel', evaluate: 'evaluate.action' };
      toolbarService.addButtons([{ id: 'SubmitLabel', uiType: 'ohif.radioGroup', props }]);
      toolbarService.createButtonSection('primary', ['SubmitLabel']);
    },
  });
})();
