
// What follows is added to the configuration that OHIF ships with. It gives MONAI Label's mode a button that saves the
// label, and radiographs.
(() => {
  const server = new URL('..', window.location.origin + window.PUBLIC_URL).href; // below a proxy's path, too
  document.cookie = `MONAILABEL_SERVER_URL=${escape(server)}`; // what the panel connects to

  // A radiograph's labelmap, with what MONAI Label's panel and `nrrd` use of a volume's.
  function planeOf(imageId) {
    const image = window.cornerstone.cache.getImage(imageId);
    const pixels = () => image.voxelManager.getScalarData();
    const voxelManager = {
      getCompleteScalarDataArray: pixels,
      setCompleteScalarDataArray: values => pixels().set(values),
    };
    return { dimensions: [image.columns, image.rows], voxelManager };
  }

  // Shipped, the panel finds labelmaps of volumes only.
  function findPlanesToo(segmentationService) {
    const shipped = segmentationService.getLabelmapVolume;
    segmentationService.getLabelmapVolume = function (id) {
      const { imageIds } = this.getSegmentation(id).representationData.Labelmap ?? {};
      return shipped.call(this, id) ?? (imageIds?.length === 1 ? planeOf(imageIds[0]) : null);
    };
  }

  // Shipped, the mode shows nothing of a study that is no volume, and may show a label in place of its image.
  function hangPlanesToo(hangingProtocolService) {
    const shipped = hangingProtocolService.run;
    hangingProtocolService.run = function (found, id, ...rest) {
      const displaySets = found.displaySets.filter(set => set.Modality !== 'SEG');
      const flat = id === 'mpr' && !displaySets.some(set => set.isReconstructable);
      return shipped.call(this, { ...found, displaySets }, flat ? 'default' : id, ...rest);
    };
  }

  // A labelmap as NRRD, with the names of its segments. DICOM's axes and NRRD's are left-posterior-superior; a plane is
  // on its image's own grid and says nothing of the body.
  function nrrd({ dimensions, spacing, direction, origin, voxelManager }, segments) {
    const axis = i => `(${[0, 1, 2].map(j => direction[3 * i + j] * spacing[i]).join(',')})`;
    const header = [
      'NRRD0004',
      'type: uint8',
      `dimension: ${dimensions.length}`,
      `sizes: ${Array.from(dimensions).join(' ')}`,
      'encoding: raw',
    ];
    if (direction) {
      header.push(
        'space: left-posterior-superior',
        `space directions: ${[0, 1, 2].map(axis).join(' ')}`,
        `space origin: (${Array.from(origin).join(',')})`
      );
    }
    segments.forEach(({ label, segmentIndex }, i) => {
      header.push(`Segment${i}_Name:=${label}`, `Segment${i}_LabelValue:=${segmentIndex}`);
    });
    const voxels = Uint8Array.from(voxelManager.getCompleteScalarDataArray());
    return { file: new Blob([`${header.join('\n')}\n\n`, voxels]), empty: !voxels.some(Boolean) };
  }

  async function submitLabel({ segmentationService, viewportGridService, displaySetService, uiNotificationService }) {
    const tell = (type, message) =>
      uiNotificationService.show({ title: 'Submit label', message, type, duration: 8000 });
    const [segmentation] = segmentationService.getSegmentations();
    const labelmap = segmentation && segmentationService.getLabelmapVolume(segmentation.segmentationId);
    if (!labelmap) {
      return tell('warning', 'There is no segmentation: connect to MONAI Label, then run a model');
    }
    const { file, empty } = nrrd(labelmap, Object.values(segmentation.segments));
    if (empty && !window.confirm('Nothing is drawn. Save that there is nothing to be seen in this image?')) {
      return;
    }
    const { viewports, activeViewportId } = viewportGridService.getState();
    const [shown] = viewports.get(activeViewportId).displaySetInstanceUIDs;
    const image = displaySetService.getDisplaySetByUID(shown).SeriesInstanceUID;
    const body = new FormData();
    body.append('params', JSON.stringify({ empty }));
    body.append('label', file, 'label.nrrd');
    try {
      const answer = await fetch(`${server}datastore/label?image=${image}`, { method: 'PUT', body });
      tell(answer.ok ? 'success' : 'error', answer.ok ? 'The label is saved' : (await answer.json()).detail);
    } catch (error) {
      tell('error', `The label is not saved: ${error}`);
    }
  }

  window.config.extensions.push({
    id: 'submit-label',
    preRegistration: ({ servicesManager }) => {
      findPlanesToo(servicesManager.services.segmentationService);
      hangPlanesToo(servicesManager.services.hangingProtocolService);
    },
    getCommandsModule: ({ servicesManager }) => ({
      definitions: { submitLabel: { commandFn: () => submitLabel(servicesManager.services) } },
      defaultContext: 'SUBMIT_LABEL',
    }),
    onModeEnter: ({ servicesManager }) => {
      if (!window.location.pathname.endsWith('/monai-label')) {
        return;
      }
      const { toolbarService } = servicesManager.services;
      const name = { label: 'Submit label', tooltip: 'Submit label', icon: 'icon-upload' };
      const props = { ...name, commands: 'submitLabel', evaluate: 'evaluate.action' };
      toolbarService.addButtons([{ id: 'SubmitLabel', uiType: 'ohif.radioGroup', props }]);
      toolbarService.createButtonSection('primary', ['SubmitLabel']);
    },
  });
})();
