//! Volumes as upstream's schema has them: Kubernetes' sources without the image source, and claims with small metadata.

use std::collections::BTreeMap;

use k8s_openapi::{
    api::core::v1::{
        self as core, AWSElasticBlockStoreVolumeSource, AzureDiskVolumeSource, AzureFileVolumeSource, CSIVolumeSource, CephFSVolumeSource,
        CinderVolumeSource, ConfigMapVolumeSource, DownwardAPIVolumeSource, EmptyDirVolumeSource, FCVolumeSource, FlexVolumeSource,
        FlockerVolumeSource, GCEPersistentDiskVolumeSource, GlusterfsVolumeSource, HostPathVolumeSource, ISCSIVolumeSource,
        NFSVolumeSource, PersistentVolumeClaimSpec, PersistentVolumeClaimStatus, PersistentVolumeClaimVolumeSource,
        PhotonPersistentDiskVolumeSource, PortworxVolumeSource, ProjectedVolumeSource, QuobyteVolumeSource, RBDVolumeSource,
        ScaleIOVolumeSource, SecretVolumeSource, StorageOSVolumeSource, VsphereVirtualDiskVolumeSource,
    },
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference},
};

use super::wire;

/// Declares the source and its translation into a Kubernetes volume from one list, so that neither can miss a member.
macro_rules! volume_source {
    ($( $(#[$meta:meta])* $field:ident: $type:ident => $schema:literal, )+) => {
        wire! {
            /// Where the content of a volume comes from; exactly one member is given.
            pub struct VolumeSource {
                $(
                    $(#[$meta])*
                    #[schemars(schema_with = $schema)]
                    pub $field: Option<$type>,
                )+
                /// A claim that lives as long as the pod.
                pub ephemeral: Option<EphemeralVolumeSource>,
            }
        }

        impl VolumeSource {
            /// The Kubernetes volume of this source, under a name.
            pub fn to_volume(&self, name: &str) -> core::Volume {
                core::Volume {
                    name: name.to_owned(),
                    $( $field: self.$field.clone(), )+
                    ephemeral: self.ephemeral.as_ref().map(EphemeralVolumeSource::to_source),
                    ..core::Volume::default()
                }
            }
        }
    };
}

volume_source! {
    /// A directory of the node.
    host_path: HostPathVolumeSource => "super::embedded::<HostPathVolumeSource>",
    /// An empty directory that lives as long as the pod.
    empty_dir: EmptyDirVolumeSource => "super::embedded::<EmptyDirVolumeSource>",
    /// A disk of Google Compute Engine.
    gce_persistent_disk: GCEPersistentDiskVolumeSource => "super::embedded::<GCEPersistentDiskVolumeSource>",
    /// A disk of AWS Elastic Block Store.
    aws_elastic_block_store: AWSElasticBlockStoreVolumeSource => "super::embedded::<AWSElasticBlockStoreVolumeSource>",
    /// Files from a Secret.
    secret: SecretVolumeSource => "super::embedded::<SecretVolumeSource>",
    /// A share of an NFS server.
    nfs: NFSVolumeSource => "super::embedded::<NFSVolumeSource>",
    /// An iSCSI disk.
    iscsi: ISCSIVolumeSource => "super::embedded::<ISCSIVolumeSource>",
    /// A Glusterfs volume.
    glusterfs: GlusterfsVolumeSource => "super::embedded::<GlusterfsVolumeSource>",
    /// A PersistentVolumeClaim of the pod's namespace.
    persistent_volume_claim: PersistentVolumeClaimVolumeSource => "super::embedded::<PersistentVolumeClaimVolumeSource>",
    /// A Rados block device.
    rbd: RBDVolumeSource => "super::embedded::<RBDVolumeSource>",
    /// A volume of a FlexVolume driver.
    flex_volume: FlexVolumeSource => "super::embedded::<FlexVolumeSource>",
    /// A volume of OpenStack Cinder.
    cinder: CinderVolumeSource => "super::embedded::<CinderVolumeSource>",
    /// A CephFS mount.
    cephfs: CephFSVolumeSource => "super::embedded::<CephFSVolumeSource>",
    /// A Flocker volume.
    flocker: FlockerVolumeSource => "super::embedded::<FlockerVolumeSource>",
    /// Files with facts about the pod.
    #[serde(rename = "downwardAPI")]
    downward_api: DownwardAPIVolumeSource => "super::embedded::<DownwardAPIVolumeSource>",
    /// A Fibre Channel disk.
    fc: FCVolumeSource => "super::embedded::<FCVolumeSource>",
    /// A share of Azure Files.
    azure_file: AzureFileVolumeSource => "super::embedded::<AzureFileVolumeSource>",
    /// Files from a ConfigMap.
    config_map: ConfigMapVolumeSource => "super::embedded::<ConfigMapVolumeSource>",
    /// A vSphere disk.
    vsphere_volume: VsphereVirtualDiskVolumeSource => "super::embedded::<VsphereVirtualDiskVolumeSource>",
    /// A Quobyte mount.
    quobyte: QuobyteVolumeSource => "super::embedded::<QuobyteVolumeSource>",
    /// An Azure data disk.
    azure_disk: AzureDiskVolumeSource => "super::embedded::<AzureDiskVolumeSource>",
    /// A disk of a Photon controller.
    photon_persistent_disk: PhotonPersistentDiskVolumeSource => "super::embedded::<PhotonPersistentDiskVolumeSource>",
    /// Several sources in one directory.
    projected: ProjectedVolumeSource => "super::embedded::<ProjectedVolumeSource>",
    /// A Portworx volume.
    portworx_volume: PortworxVolumeSource => "super::embedded::<PortworxVolumeSource>",
    /// A ScaleIO volume.
    #[serde(rename = "scaleIO")]
    scale_io: ScaleIOVolumeSource => "super::embedded::<ScaleIOVolumeSource>",
    /// A StorageOS volume.
    storageos: StorageOSVolumeSource => "super::embedded::<StorageOSVolumeSource>",
    /// A volume of a CSI driver.
    csi: CSIVolumeSource => "super::embedded::<CSIVolumeSource>",
}

wire! {
    /// A named volume.
    #[schemars(extend("required" = ["name"]))]
    pub struct Volume {
        /// Name that mounts refer to.
        pub name: String,
        /// Where its content comes from.
        #[serde(flatten)]
        pub source: VolumeSource,
    }

    /// Where the content of an Addon's volume comes from; exactly one member is given.
    pub struct TemplateVolumeSource {
        /// A source Kubernetes knows.
        #[serde(flatten)]
        pub source: VolumeSource,
        /// A claim that is made for the executor.
        pub volume_claim_template: Option<PersistentVolumeClaimTemplate>,
    }

    /// A claim that lives as long as the pod.
    pub struct EphemeralVolumeSource {
        /// The claim to make.
        pub volume_claim_template: Option<PersistentVolumeClaimTemplate>,
    }

    /// A claim to make.
    #[schemars(extend("required" = ["spec"]))]
    pub struct PersistentVolumeClaimTemplate {
        /// Name, labels and annotations of the claim.
        pub metadata: Option<PartialObjectMeta>,
        /// What the claim asks for.
        #[schemars(schema_with = "super::embedded::<PersistentVolumeClaimSpec>")]
        pub spec: Option<PersistentVolumeClaimSpec>,
    }

    /// A claim with small metadata.
    pub struct PersistentVolumeClaim {
        /// Always v1.
        pub api_version: String,
        /// Always PersistentVolumeClaim.
        pub kind: String,
        /// Name, labels and annotations of the claim.
        pub metadata: Option<PartialObjectMeta>,
        /// What the claim asks for.
        #[schemars(schema_with = "super::embedded::<PersistentVolumeClaimSpec>")]
        pub spec: Option<PersistentVolumeClaimSpec>,
        /// State of the claim; ignored in a template.
        #[schemars(schema_with = "super::embedded::<PersistentVolumeClaimStatus>")]
        pub status: Option<PersistentVolumeClaimStatus>,
    }

    /// The part of an object's metadata that a template may set.
    pub struct PartialObjectMeta {
        /// Name of the object.
        pub name: String,
        /// Start of a name the API server completes.
        pub generate_name: String,
        /// Namespace of the object.
        pub namespace: String,
        /// Labels.
        pub labels: BTreeMap<String, String>,
        /// Annotations.
        pub annotations: BTreeMap<String, String>,
        /// Owners of the object.
        #[schemars(schema_with = "super::embedded::<Vec<OwnerReference>>")]
        pub owner_references: Vec<OwnerReference>,
    }
}

impl super::Absent for VolumeSource {
    // A flattened source has no key of its own that could be left out.
    fn absent(&self) -> bool {
        false
    }
}

impl Volume {
    /// The Kubernetes volume.
    pub fn to_volume(&self) -> core::Volume {
        self.source.to_volume(&self.name)
    }
}

impl EphemeralVolumeSource {
    fn to_source(&self) -> core::EphemeralVolumeSource {
        core::EphemeralVolumeSource {
            volume_claim_template: self.volume_claim_template.as_ref().map(|template| core::PersistentVolumeClaimTemplate {
                metadata: template.metadata.as_ref().map(PartialObjectMeta::to_meta),
                spec: template.spec.clone().unwrap_or_default(),
            }),
        }
    }
}

impl PartialObjectMeta {
    /// The Kubernetes metadata.
    pub fn to_meta(&self) -> ObjectMeta {
        let text = |text: &String| (!text.is_empty()).then(|| text.clone());
        let map = |map: &BTreeMap<String, String>| (!map.is_empty()).then(|| map.clone());
        ObjectMeta {
            name: text(&self.name),
            generate_name: text(&self.generate_name),
            namespace: text(&self.namespace),
            labels: map(&self.labels),
            annotations: map(&self.annotations),
            owner_references: (!self.owner_references.is_empty()).then(|| self.owner_references.clone()),
            ..ObjectMeta::default()
        }
    }
}
